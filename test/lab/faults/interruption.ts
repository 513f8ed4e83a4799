/** Nights that are cut off, and such that meet another. */
import * as assert from "node:assert/strict";
import { faketime } from "../../../lab/debianFiles";
import { command, dumps, role, service, type Nights } from "./nights";
import type { Fault, FaultGroup } from "./fault";

const killed = (share: number): Fault => ({
  name: `pg_dump is killed when ${100 * share} % are written`,
  midway: { share, act: (nights) => nights.signal("KILL") },
  status: "1",
  says: /pg_dump ended with signal KILL/,
  tonight: "none",
});

/** Kills a program of the night that is no child of pg_dump's. */
const killProgram = (pattern: string) => (nights: Nights) =>
  nights.shell(`until pids=$(pgrep -x -f -u ${role} '${pattern}'); do sleep 0.05; done; kill -KILL $pids`);

/** Kills what reads a copier's pipe: openssl, as others of the night are, and the shell that waits for it. */
const killHasherOfCopy = (nights: Nights) =>
  nights.shell(`until pids=$({ find /proc/[0-9]*/fd/0 -lname '/var/lib/*/s3.*/plain' 2>/dev/null || true; } | cut -d / -f 3 | grep .)
    do sleep 0.05; done; kill -KILL $pids`);

const failedNights = 14;

export const interruptionFaults: FaultGroup = {
  title: "Interruptions",
  faults: [
    killed(0.1),
    killed(0.5),
    killed(0.9),
    {
      name: "The program that writes the dump is killed",
      midway: { share: 0.5, act: killProgram("perl [^ ]*/tee.pl [^ ]*/hashed") },
      status: "1",
      says: /dump cannot be written to/,
      tonight: "none",
    },
    {
      name: "The program that hashes what is copied is killed",
      midway: { share: 0.5, act: killHasherOfCopy },
      status: "1",
      says: /off-host copy: the SHA-256 of what is copied cannot be taken: /,
      tonight: "only here",
    },
    {
      name: "The service is stopped (systemctl stop, a shutdown)",
      midway: { share: 0.5, act: (nights) => nights.attempt(["systemctl", "stop", "--no-block", service]) },
      status: "143",
      says: /stopped by a signal; partials removed, earlier dumps untouched/,
      tonight: "none",
    },
    {
      name: "The night hangs beyond the service's time limit",
      inject: (nights) =>
        nights.shell(`mkdir -p /run/systemd/system/${service}.d
          printf '[Service]\\nTimeoutStartSec=15\\n' >/run/systemd/system/${service}.d/limit.conf; systemctl daemon-reload`),
      midway: {
        share: 0.5,
        act: (nights) =>
          nights.shell(`until [[ $(systemctl show -P Result ${service}) == timeout ]]; do sleep 0.1; done`),
      },
      status: "timeout",
      says: /stopped by a signal; partials removed, earlier dumps untouched/,
      tonight: "none",
      heal: (nights) => nights.shell(`rm -r /run/systemd/system/${service}.d; systemctl daemon-reload`),
    },
    {
      name: "Everything of the night is killed at once (kill -9, the kernel short of memory)",
      midway: { share: 0.5, act: (nights) => nights.shell(`systemctl kill --signal=KILL ${service}`) },
      status: "killed by KILL",
      says: /Failed with result 'signal'/,
      tonight: "none",
      leavesPartial: true,
    },
    {
      name: "The power goes (the container is stopped hard and started again)",
      night: powerCut,
      status: "none: nobody was left to say so",
      says: undefined,
      tonight: "none",
      leavesPartial: true,
    },
    {
      name: "A second night is started while one runs",
      night: startTwice,
      status: "3",
      succeeds: true, // the first one
      says: /another run is active \(pid \d+, lock .*\): wait for it to end/,
      tonight: "off-host",
    },
    {
      name: `${failedNights} failed nights in a row, all dumps older than the retention`,
      inject: async (nights) => {
        await shiftTimes(nights, "-20 days");
        await nights.shell("systemctl stop postgresql@15-main.service");
      },
      night: async (nights) => {
        for (let night = 1; night < failedNights; night++) assert.equal((await nights.run()).status, "1");
        return nights.run();
      },
      status: "1",
      says: /cannot log in to database/,
      tonight: "none",
      heal: (nights) => nights.shell("systemctl start postgresql@15-main.service"),
    },
    {
      name: "The clock was a year ahead for a night and is set back",
      inject: yearAhead,
      status: "0",
      says: /from the future/,
      tonight: "off-host",
      heal: (nights) => nights.shell(`rm ${dumps}/*_$(date -u -d '+365 days' +%Y)????T*`),
    },
  ],
};

async function powerCut(nights: Nights) {
  const { lab, vmid } = nights.deployment;
  const cutOff = nights.start();
  await nights.halt(0.5);
  await lab.stopContainer(vmid, true);
  await cutOff;
  await lab.startContainer(vmid);
  return { status: "none: nobody was left to say so", lines: [] };
}

async function startTwice(nights: Nights) {
  let second = { code: 0, stderr: "" };
  const first = await nights.run({
    share: 0.5,
    act: async () => {
      second = await nights.attempt([command, "--now"]);
    },
  });
  assert.equal(first.status, "0");
  return { status: String(second.code), lines: second.stderr.trim().split("\n") };
}

/**
 * A night whose programs have a time a year ahead, so that all but its own dump are too old: half of them it lets go. The
 * newest one of before stays.
 */
async function yearAhead(nights: Nights): Promise<void> {
  const ordinary = async (): Promise<void> => assert.equal((await nights.run()).status, "0");
  await ordinary();
  await ordinary();
  const library = "/usr/local/lib/faketime.so";
  await nights.copyIn(await faketime(), library);
  await nights.shell(`mkdir -p /run/systemd/system/${service}.d
    printf '[Service]\\nEnvironment=LD_PRELOAD=${library} FAKETIME=+365d DONT_FAKE_MONOTONIC=1\\n' \\
      >/run/systemd/system/${service}.d/clock.conf; systemctl daemon-reload`);
  const newest = await nights.newest();
  await ordinary();
  await nights.shell(`rm -r /run/systemd/system/${service}.d ${library}; systemctl daemon-reload`);
  assert.ok((await nights.look()).verified.has(newest), "the newest one of before the clock was wrong is still there");
}

/** Gives every dump and manifest another time, as if it had been made then; the ledger keeps to the old names. */
async function shiftTimes(nights: Nights, by: string): Promise<void> {
  await nights.shell(`cd ${dumps}
    for file in *.dump *.sql; do
      stamp=$(grep -oP '\\d{8}T\\d{6}Z' <<<"$file")
      moved=$(date -u -d "\${stamp:0:8} \${stamp:9:2}:\${stamp:11:2}:\${stamp:13:2} UTC ${by}" +%Y%m%dT%H%M%SZ)
      jq --arg file "\${file/$stamp/$moved}" '.file = $file' "$file.json" >/run/manifest
      cat /run/manifest >"$file.json" # owner and mode stay
      mv "$file" "\${file/$stamp/$moved}"
      mv "$file.json" "\${file/$stamp/$moved}.json"
    done`);
}
