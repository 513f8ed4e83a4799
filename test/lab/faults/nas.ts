/** Faults on the way to the NAS, and there, on nights that copy to the bucket too. */
import * as fs from "node:fs";
import { run } from "../../../lab/command";
import { configuration, type Nights } from "./nights";
import type { Meddling } from "./relay";
import type { Act, Fault, FaultGroup } from "./fault";

const toNas = (name: string, inject: Act, says: RegExp, heal: Act): Fault => ({
  name,
  inject,
  status: "1",
  says,
  tonight: "s3 alone",
  heal,
});

const onTheWay = (name: string, kind: Meddling["kind"], after: number, says: RegExp): Fault =>
  toNas(
    name,
    async ({ ways }) => {
      ways.nas.meddling = { kind, after };
    },
    says,
    async ({ ways }) => {
      ways.nas.meddling = undefined;
    },
  );

const settingsBack: Act = (nights) => nights.restoreSettings();

/** Puts a file system under the earlier copies that has room for some megabytes more, less than a dump. */
async function mountSmall(nights: Nights): Promise<void> {
  const place = directory(nights);
  await run([
    "bash",
    "-euc",
    `mkdir "$1.below"; cp -a "$1/." "$1.below/"
    mount -t tmpfs -o size=$(($(du -sk "$1" | cut -f 1) + 2048))k,mode=700 tmpfs "$1"
    cp -a "$1.below/." "$1/"`,
    "bash",
    place,
  ]);
}

/** Takes it away again; what came to lie on it is kept. */
async function unmount(nights: Nights): Promise<void> {
  const place = directory(nights);
  await run([
    "bash",
    "-euc",
    'rm -f "$1/another"; cp -a "$1/." "$1.below/"; umount "$1"; cp -a "$1.below/." "$1/"; rm -r "$1.below"',
    "bash",
    place,
  ]);
}

const directory = ({ deployment: { lab, vmid } }: Nights) => lab.nas.file(`ct${vmid}`);

const hostKey = "ssh_host_ed25519_key";
let keptKey: readonly (readonly [string, Buffer])[] = [];

async function changeHostKey({ deployment }: Nights): Promise<void> {
  const { server } = deployment.lab.nas;
  keptKey = [hostKey, `${hostKey}.pub`].map((name) => [server.file(name), fs.readFileSync(server.file(name))] as const);
  await server.changeHostKey();
}

async function showOldHostKey({ deployment }: Nights): Promise<void> {
  const { server } = deployment.lab.nas;
  await server.down();
  for (const [file, content] of keptKey) fs.writeFileSync(file, content);
  await server.up();
}

export const nasFaults: FaultGroup = {
  title: "Copies on a NAS, beside those in the bucket",
  targets: ["s3", "nas"],
  faults: [
    toNas(
      "The NAS is dead: nothing listens",
      ({ ways }) => ways.nas.cut(),
      /off-host target NAS, .*: connection refused: does sshd run there, on NAS_PORT \d+\?/,
      ({ ways }) => ways.nas.mend(),
    ),
    onTheWay("The NAS takes connections and says nothing", "stall", 0, /off-host target NAS, .*: no answer in time/),
    onTheWay("The NAS stalls in the middle of the copy", "stall", 200_000, /off-host copy to .*: no answer in time/),
    onTheWay("The connection to the NAS is cut in the middle, again and again", "cut", 200_000, /off-host copy to /),
    toNas(
      "A name of the NAS that nobody knows",
      (nights) => nights.set("NAS_HOST=no-such-nas.invalid"),
      /NAS_HOST is 'no-such-nas.invalid', a name that is not known here/,
      settingsBack,
    ),
    toNas(
      "The NAS shows another host key",
      changeHostKey,
      /the host key is not the pinned one: it shows /,
      showOldHostKey,
    ),
    toNas(
      "The NAS admits the key no longer",
      async ({ deployment }) => deployment.lab.nas.server.write("authorized_keys", []),
      /login refused: NAS_USER is 'root', NAS_KEY_FILE .*: its public key must be in that account's authorized_keys/,
      ({ deployment }) => deployment.lab.nas.server.up(),
    ),
    toNas(
      "The key to the NAS may be read by others",
      (nights) => nights.shell(`chmod 0644 ${configuration}/nas-key`),
      /NAS_KEY_FILE .* has mode 644: must be 600/,
      settingsBack,
    ),
    toNas(
      "The NAS is full before the night",
      async (nights) => {
        await mountSmall(nights);
        await run(["bash", "-c", `cat /dev/zero >'${directory(nights)}/another' 2>/dev/null || true`]);
      },
      /off-host target NAS, .*: the NAS is full: /,
      unmount,
    ),
    toNas("The NAS fills up in the middle of the copy", mountSmall, /off-host copy to .*: the NAS is full: /, unmount),
    {
      ...toNas(
        "The network is gone: neither target can be reached",
        (nights) => nights.shell("ip link set eth0 down"),
        /missing off-host: rsync:/,
        (nights) => nights.shell("ip link set eth0 up"),
      ),
      tonight: "only here",
    },
  ],
};
