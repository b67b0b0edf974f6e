/** What a key means whatever the keyboard's alphabet: "s" for the key at S, "1" for the one at 1. */
export function meaning(event, known) {
  const key = event.key.toLowerCase();
  if (key === "?" || key in known || event.shiftKey || /^[a-z]$/.test(key)) return key;
  return event.code.replace(/^(Key|Digit)/, "").toLowerCase();
}
