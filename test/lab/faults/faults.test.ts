/**
 * The failure table: every fault is injected for real into one container that the real engine has deployed, on a night
 * that its service runs, and docs/failures.md holds what was seen. `npm run docs:failures` writes it anew.
 */
import * as assert from "node:assert/strict";
import { Document, type FailureRow } from "../../../docs/failures";
import { Lab } from "../../../lab/lab";
import { nasFacts } from "../../../lab/settings";
import { Deployment } from "../deployment";
import { addresses } from "../../../lab/network";
import { diskFaults, settingsFaults } from "./disk";
import { dumpFaults } from "./dumps";
import type { Ended, Fault, Tonight } from "./fault";
import { interruptionFaults } from "./interruption";
import { nasFaults } from "./nas";
import { Nights, type Sight, type Target } from "./nights";
import { normalise } from "./normalise";
import { Relay, wayToNas, wayToS3 } from "./relay";
import { s3Faults } from "./s3";
import { serverFaults } from "./server";

const vmid = 2360;
const groups = [interruptionFaults, serverFaults, diskFaults, dumpFaults, s3Faults, nasFaults, settingsFaults];
const writing = process.env.PGBACKUP_WRITE_FAILURES === "1";

/** What every night that failed says last. */
const farewell = /^error: the night failed for: .*\. Nothing was removed; earlier dumps are untouched$/;

describe("failures", function () {
  let nights: Nights;
  let ways: Record<Target, Relay>;
  let deployment: Deployment;
  /** A good dump that is too old: the next night that succeeds lets it go, and no other. */
  let overdue: string;
  const document = new Document();

  before(async () => {
    const lab = await Lab.open(process.env.PGBACKUP_LAB ?? "test");
    ways = { s3: await Relay.start(wayToS3(lab)), nas: await Relay.start(wayToNas(lab)) };
    await begin();
  });

  /** A new container, deployed, after one healthy night. */
  async function begin(): Promise<void> {
    for (const way of Object.values(ways)) way.meddling = undefined;
    const settings = (lab: Lab) => ({
      ...nasFacts(lab),
      nasPort: ways.nas.port,
      s3Endpoint: `https://${addresses.s3}:${ways.s3.port}`,
    });
    deployment = await Deployment.create(vmid, { settings });
    nights = new Nights(deployment, ways);
    // Bytes that do not compress: about 3 MB of dump.
    await nights.sql(`CREATE TABLE receipts AS SELECT n AS id, (SELECT string_agg(sha512((n::text || m)::bytea), '')
      FROM generate_series(1, 50) m) AS scan FROM generate_series(1, 1000) n; ALTER TABLE receipts OWNER TO expense_app`);
    await nights.deploy();
    await healthy();
  }

  async function healthy(): Promise<void> {
    assert.deepEqual(await nights.run(), { status: "0", lines: [] });
  }

  // What a fault that was not as expected has left is not the next one's to find.
  afterEach(async function () {
    if (this.currentTest?.state === "failed") await begin();
  });

  after(async () => {
    await deployment.remove();
    for (const way of Object.values(ways)) await way.cut();
  });

  for (const { title, faults, targets } of groups) {
    describe(title, () => {
      for (const fault of faults) {
        it(fault.name, async () => {
          await useTargets(targets);
          const row = await prove(fault);
          if (writing) document.set(row);
          else {
            const [found, seen] = [document.line(fault.name), Document.render(row)].map((line) =>
              Document.outline(line),
            );
            assert.equal(found, seen, "docs/failures.md says something else: npm run docs:failures");
          }
        });
      }
    });
  }

  it("docs/failures.md has these faults, and no others", () => {
    const wanted = groups.map(({ title, faults }) => ({ title, faults: faults.map(({ name }) => name) }));
    if (writing) document.arrange(wanted);
    else assert.deepEqual(document.groups(), wanted);
  });

  /** Has dumps copied there, and lives through a healthy night, so that what stands there is there too. */
  async function useTargets(targets: readonly Target[] = ["s3"]): Promise<void> {
    if (nights.targets.join() === targets.join()) return;
    await nights.useTargets(targets);
    await healthy();
  }

  /** Injects a fault, lives through the night and the next one, and proves what must hold of every fault. */
  async function prove(fault: Fault): Promise<FailureRow> {
    await nights.keepNewest();
    overdue = await nights.addAged(30);
    const { ended, after } = await proveBadNight(fault).catch(async (error: unknown) => {
      await fault.heal?.(nights).catch(() => undefined);
      throw error;
    });
    await fault.heal?.(nights);
    return { fault: fault.name, ...show(ended), tonight: fault.tonight, next: await proveRecovery(after) };
  }

  async function proveBadNight(fault: Fault): Promise<{ ended: Ended; after: Sight }> {
    await fault.inject?.(nights);
    const before = await nights.look();
    const ended = await (fault.night?.(nights) ?? nights.run(fault.midway));
    const after = await nights.look();
    assertEnd(fault, ended);
    assertUnharmed(before, after, fault.succeeds ?? fault.status === "0");
    const partials = after.hidden.filter((name) => name.endsWith(".partial"));
    assert.equal(partials.length > 0, fault.leavesPartial === true, `partials: ${partials.join(" ")}`);
    const copies = await assertGoodLooksAreTrue(after);
    const [made] = [...after.verified.keys()].filter((name) => !before.hashes.has(name));
    assert.equal(tonight(made, copies), fault.tonight);
    const disturbed = fault.night !== undefined || fault.midway !== undefined; // while the dump was made
    if (made !== undefined && disturbed) assert.match(await nights.restore(made), /^Proved:/m);
    return { ended, after };
  }

  /** The night after it succeeds by itself, and all is off-host; returns what it said. */
  async function proveRecovery(before: Sight): Promise<string[]> {
    const ended = await nights.run();
    assert.equal(ended.status, "0", ended.lines.join("\n"));
    const after = await nights.look();
    assert.deepEqual(after.hidden, [], "partials are gone");
    assert.ok(!after.hashes.has(overdue), `${overdue} is kept too long`);
    const made = [...after.verified.keys()].filter((name) => !before.hashes.has(name));
    assert.equal(made.length, 1, "the night made a dump");
    const copies = await assertGoodLooksAreTrue(after);
    for (const [target, names] of copies) {
      for (const name of after.verified.keys()) assert.ok(names.has(name), `${name} is not off-host: ${target}`);
    }
    return show(ended).lines;
  }

  function assertEnd(fault: Fault, { status, lines }: Ended): void {
    assert.equal(status, fault.status, lines.join("\n"));
    const { says } = fault;
    if (says === undefined) assert.deepEqual(lines, []);
    else
      assert.ok(
        lines.some((line) => says.test(line)),
        `${String(says)} is not in:\n${lines.join("\n")}`,
      );
    assert.ok(!lines.some((line) => line.includes("unexpected at")), lines.join("\n"));
  }

  /**
   * No earlier dump or manifest was lost or altered, but those that the fault itself damaged, and after a night that
   * succeeded the one that was due.
   */
  function assertUnharmed(before: Sight, after: Sight, succeeded: boolean): void {
    const due = (name: string): boolean => succeeded && [overdue, `${overdue}.json`].includes(name);
    for (const [name, hash] of before.hashes) {
      if (nights.harmed.has(name)) continue;
      assert.equal(after.hashes.get(name), due(name) ? undefined : hash, `${name} was lost, altered, or kept too long`);
    }
  }

  /**
   * What is listed as verified is whole, but for what the fault damaged, which --check must find; and what is listed as
   * off-host is there. Returns the names of what is, by target.
   */
  async function assertGoodLooksAreTrue(sight: Sight): Promise<Map<Target, ReadonlySet<string>>> {
    const harmed = [...sight.verified.keys()].filter((name) => nights.harmed.has(name));
    assert.deepEqual(await nights.findDamaged(sight), harmed);
    const copies = new Map<Target, ReadonlySet<string>>();
    for (const target of nights.targets) {
      const names = await nights.copies(target);
      const listed = [...sight.verified].filter(([, where]) => where.includes(target)).map(([name]) => name);
      for (const name of listed) assert.ok(names.has(name), `${name} is listed as copied, and is not there: ${target}`);
      copies.set(target, names);
    }
    return copies;
  }
});

function tonight(made: string | undefined, copies: ReadonlyMap<Target, ReadonlySet<string>>): Tonight {
  if (made === undefined) return "none";
  const there = [...copies].filter(([, names]) => names.has(made)).map(([target]) => target);
  if (there.length === copies.size) return "off-host";
  return there[0] === undefined ? "only here" : `${there[0]} alone`;
}

/** What of a night goes into the table. */
function show({ status, lines }: Ended): { status: string; lines: string[] } {
  const shown = new Map<string, string>();
  for (const line of lines.filter((each) => !farewell.test(each)).map(normalise)) {
    const text = line.replace(/^\S+: (?=error|warning)/, ""); // what ails the database ails the globals too
    if (!shown.has(text)) shown.set(text, line);
  }
  return { status, lines: [...shown.values()] };
}
