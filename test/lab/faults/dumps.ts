/** Damage to dumps and manifests that lie on the disk. */
import { dumps, type Nights } from "./nights";
import type { Fault, FaultGroup } from "./fault";

/** A fault of the newest dump: `file` stands for its path in these lines of bash. */
function damage(name: string, lines: string, says: RegExp | undefined): Fault {
  return {
    name,
    inject: async (nights: Nights) => {
      const file = await nights.newest();
      nights.harmed.add(file).add(`${file}.json`);
      await nights.shell(`file=${dumps}/${file}; ${lines}`);
    },
    status: "0",
    says,
    tonight: "off-host",
    heal: (nights) => nights.removeHarmed(),
  };
}

const unfit = /\.dump has no manifest that fits: it counts as no dump, and is left for you to look at/;

export const dumpFaults: FaultGroup = {
  title: "Dumps on the disk",
  faults: [
    damage("An earlier dump is truncated", 'truncate -s -1000 "$file"', unfit),
    damage(
      "A bit of an earlier dump flips",
      `printf '\\x5a' | dd of="$file" bs=1 seek=100000 conv=notrunc status=none`,
      undefined,
    ),
    damage("An earlier dump is emptied", ': >"$file"', unfit),
    damage("The manifest of an earlier dump is gone", 'rm "$file.json"', unfit),
    damage(
      "The manifest of an earlier dump is edited: another size",
      `sed -i 's/"size": /"size": 1/' "$file.json"`,
      unfit,
    ),
    damage(
      "The manifest of an earlier dump is edited: another SHA-256",
      `sed -i -E 's/("sha256": ")[0-9a-f]{8}/\\100000000/' "$file.json"`,
      undefined,
    ),
    damage("The manifest of an earlier dump is empty", ': >"$file.json"', unfit),
    damage(
      "A dump stands under another dump's name",
      `cp -p "$file" "\${file%_*}_20260101T000000Z.dump"
      cp -p "$file.json" "\${file%_*}_20260101T000000Z.dump.json"; rm "$file" "$file.json"`,
      unfit,
    ),
  ],
};
