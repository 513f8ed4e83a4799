/** Takes out of a line what differs from run to run. */
export function normalise(line: string): string {
  return replacements.reduce((text, [pattern, by]) => text.replace(pattern, by), line);
}

const replacements: readonly (readonly [RegExp, string])[] = [
  [/\d{8}T\d{6}Z/g, "<time>"],
  [/\b[0-9a-f]{64}\b/g, "<SHA-256>"],
  [/\bpid \d+/gi, "pid <n>"],
  [/about [\d.]+[KMGT]?B \(\d+ bytes\), [\d.]+[KMGT]?B \(\d+ bytes\)/g, "about <size> (<n> bytes), <size> (<n> bytes)"],
  [/(https:\/\/[\d.]+):\d+/g, "$1:<port>"],
  [/(rsync:\/\/\w+@[\w.-]+):\d+/g, "$1:<port>"],
  [/NAS_PORT \d+/g, "NAS_PORT <port>"],
  [/ port \d+/g, " port <port>"],
  [/SHA256:[\w+/]{43}/g, "SHA256:<fingerprint>"],
  [/\bline \d+:/g, "line <n>:"],
  [/\s+/g, " "],
  [/after \d+ ms/g, "after <n> ms"],
  [/with \d+ out of \d+ bytes/g, "with <n> out of <n> bytes"],
];
