const SHORT: { [character: string]: string } = {
  ...{ '"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t" },
  ...{ "\u0007": "\\a", "\b": "\\b", "\f": "\\f", "\v": "\\v" },
};

/** A string as Go's %q prints it, which is how the official plugin quotes a command in an error. */
export const quote = (value: string): string =>
  `"${value.replace(/["\\\p{C}\p{Zl}\p{Zp}]|[^\S ]/gu, (character) => SHORT[character] ?? escape(character))}"`;

function escape(character: string): string {
  const code = character.codePointAt(0) ?? 0;
  if (code < 0x80) return `\\x${code.toString(16).padStart(2, "0")}`;
  return code > 0xffff ? `\\U${code.toString(16).padStart(8, "0")}` : `\\u${code.toString(16).padStart(4, "0")}`;
}
