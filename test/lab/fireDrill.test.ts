/** The container is lost with its disk: a new one, and all of it back from one off-host target alone, by the runbook. */
import * as assert from "node:assert/strict";
import { createHash } from "node:crypto";
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import * as iam from "@aws-sdk/client-iam";
import { GetObjectCommand, ListObjectsV2Command } from "@aws-sdk/client-s3";
import { run } from "../../lab/command";
import type { Lab } from "../../lab/lab";
import { nasFacts } from "../../lab/settings";
import type { Outcome } from "../../lab/stack";
import { changed, Deployment, warnings } from "./deployment";

const database = "expense_app_production";
const application = "expense_app";
const role = "trade_show_backup_prod";
const service = "trade-show-db-backup.service";
const restore = "/usr/local/bin/trade-show-db-restore.sh";

const drills = [
  { title: "a fire drill", vmid: 2375, debian: "bookworm", encrypted: false },
  { title: "a fire drill with age", vmid: 2376, debian: "bookworm", encrypted: true },
  { title: "a fire drill on Debian 13", vmid: 2377, debian: "trixie", encrypted: false },
] as const;

type Source = "s3" | "nas";

for (const { title, vmid, debian, encrypted } of drills) {
  describe(title, function () {
    const prefix = `ct${vmid}/`;
    const reader = `fire-drill-reader-${vmid}`;
    let deployment: Deployment;
    let lab: Lab;
    /** Directory on this machine, where the private key is. */
    let home: string;
    /** What the operator types when asked, beside each target. */
    let answers: Readonly<Record<Source, string>>;
    /** Commands of the runbook's section, as the stack printed them while the container was there. */
    let commands: readonly string[];
    /** Roles, definition and content of the whole server. */
    let content: string;

    before(async () => {
      home = fs.mkdtempSync(path.join(os.tmpdir(), "pgbackup-fire-drill-"));
      await run(["age-keygen", "-o", path.join(home, "key.txt")]);
      const recipient = (await run(["age-keygen", "-y", path.join(home, "key.txt")])).stdout.trim();
      deployment = await Deployment.create(vmid, {
        debian,
        settings: (of) => ({ ...nasFacts(of), ...(encrypted ? { ageRecipients: [recipient] } : {}) }),
      });
      lab = deployment.lab;
      await deployment.stack.up();
      await deployment.run(["systemctl", "start", service]);
      const identity = encrypted ? `${privateKey()}\n` : "";
      const key = await makeReader();
      answers = { s3: `${key.AccessKeyId}\n${key.SecretAccessKey}\n${identity}`, nas: identity };
      const runbook = String((await deployment.stack.outputs()).runbook?.value);
      const [, section = ""] = /^## The container is gone$([^]*?)^## /m.exec(runbook) ?? [];
      commands = [...section.matchAll(/^ {4}(.+)$/gm)].map(([, command = ""]) => command);
      content = await everything();
    });

    after(async () => {
      fs.rmSync(home, { recursive: true });
      await removeReader();
      await deployment.remove();
    });

    it("is made of these commands", () => {
      const missing = (source: Source) =>
        `pct exec ${vmid} -- ${restore} latest --database ${database} --from ${source} --globals --as ${database}`;
      assert.deepEqual(
        commands.map((command) => command.replace(/ +# .*/, "")),
        ["pulumi up", missing("s3"), missing("nas"), "pulumi up", `pct exec ${vmid} -- systemctl start ${service}`],
      );
    });

    // Each destroys what the one before brought back.
    (["s3", "nas"] as const).forEach((source, index) => {
      describe(`from ${source} alone`, () => {
        let first: Outcome;
        let second: Outcome;

        before(async () => {
          await lab.destroyContainer(vmid);
          await lab.createContainer(vmid, { debian, fresh: true });
          assert.doesNotMatch(
            await everything(),
            /expense|trade_show/,
            "a container without the database and its roles",
          );
        });

        it("is brought back by the runbook's commands", async () => {
          const [up, ...others] = commands;
          assert.match(up ?? "", /^pulumi up /);
          const started = Date.now();
          first = await deployment.stack.up();
          const reveal = hideFromNas(source);
          const fetching = others.filter((command) => command.includes(` --from ${source} `));
          for (const command of fetching) {
            const said = await deployment.type(command, answers[source]);
            assert.match(said, /^Proved:$/m);
          }
          console.log(`fire drill from ${source}, ${debian}${encrypted ? ", with age" : ""}: ${seconds(started)} s`);
          assert.equal(fetching.length, 1);
          reveal();
          second = await deployment.stack.up();
          await deployment.type(others.at(-1) ?? "");
        });

        it("after an up that puts back all but the database, and says so", () => {
          assert.deepEqual(
            warnings(first).map((text) => text.split("\n")[0]),
            [
              `databases: container ${vmid} has no database "${database}". It has: postgres, template1. Until it is there, ` +
                "nights fail. Correct databases, or restore it, without --from where its dumps are still in " +
                "/var/backups/trade-show-app, and run `pulumi up` again:",
            ],
          );
          assert.match(first.output, /CANNOT DUMP: .*database "expense_app_production" does not exist/);
        });

        it("before another one that lets the role into it, and the next preview is clean", async () => {
          assert.deepEqual(changed(second), [
            "update audit-/usr/local/bin/trade-show-db-backup.sh",
            `update role-${role}`,
          ]);
          assert.deepEqual(warnings(second), [
            `role-${role} was changed in container ${vmid}: gained "CONNECT on database ${database}"`, // by the dump
          ]);
          assert.match(second.output, /The dump would be complete\. The role can do nothing but read\./);
          const preview = await deployment.stack.preview({ expectNoChanges: true });
          assert.deepEqual(warnings(preview), []);
        });

        it("with every row, role, owner, grant and setting that it had", async () => {
          assert.equal(await everything(), content);
        });

        it("so that the application's role logs in and reads, with a new password", async () => {
          await deployment.sql(`ALTER ROLE ${application} PASSWORD 'made anew'`, "postgres");
          const psql = ["psql", "-XAtqw", "-h", "127.0.0.1", "-U", application, "-d", database];
          const rows = await deployment.run([
            "env",
            "PGPASSWORD=made anew",
            ...psql,
            "-c",
            "SELECT count(*) FROM expenses",
          ]);
          assert.equal(rows, "2000\n");
          await deployment.sql(`ALTER ROLE ${application} PASSWORD NULL`, "postgres");
        });

        it("and its night added to the copies of the lost one, each of which is what its manifest says", async () => {
          for (const copies of [await copiesInBucket(), copiesOnNas()]) {
            const names = [...copies.keys()].filter((name) => name.endsWith(".json")).sort();
            const night = (pattern: RegExp) => names.filter((name) => pattern.test(name)).length;
            assert.deepEqual(
              [night(/^expense_app_production_.*\.dump/), night(/^globals_.*\.sql/)],
              [index + 2, index + 2],
            );
            for (const name of names) await expectWhole(copies, name);
          }
        });
      });
    });

    function privateKey(): string {
      return (
        /^AGE-SECRET-KEY-.*$/m.exec(fs.readFileSync(path.join(home, "key.txt"), "utf8"))?.[0] ?? assert.fail("no key")
      );
    }

    /** The key of somebody who may read the bucket, and nothing else. */
    async function makeReader(): Promise<iam.AccessKey> {
      const client = lab.s3.iam();
      const [bucket, objects] = [`arn:aws:s3:::${deployment.bucket}`, `arn:aws:s3:::${deployment.bucket}/${prefix}*`];
      const PolicyDocument = JSON.stringify({
        Version: "2012-10-17",
        Statement: [
          { Effect: "Allow", Action: "s3:ListBucket", Resource: bucket },
          { Effect: "Allow", Action: "s3:GetObject", Resource: objects },
        ],
      });
      await client.send(new iam.CreateUserCommand({ UserName: reader }));
      await client.send(new iam.PutUserPolicyCommand({ UserName: reader, PolicyName: "read", PolicyDocument }));
      const { AccessKey } = await client.send(new iam.CreateAccessKeyCommand({ UserName: reader }));
      return AccessKey ?? assert.fail("no key");
    }

    async function removeReader(): Promise<void> {
      const client = lab.s3.iam();
      const { AccessKeyMetadata = [] } = await client.send(new iam.ListAccessKeysCommand({ UserName: reader }));
      for (const { AccessKeyId } of AccessKeyMetadata)
        await client.send(new iam.DeleteAccessKeyCommand({ UserName: reader, AccessKeyId }));
      await client.send(new iam.DeleteUserPolicyCommand({ UserName: reader, PolicyName: "read" }));
      await client.send(new iam.DeleteUserCommand({ UserName: reader }));
    }

    /** Takes the NAS's copies away, unless they are the source, and returns what puts them back. */
    function hideFromNas(source: Source): () => void {
      const place = lab.nas.file(`ct${vmid}`);
      if (source === "nas") return () => undefined;
      fs.renameSync(place, `${place}.hidden`);
      return () => fs.renameSync(`${place}.hidden`, place);
    }

    async function copiesInBucket(): Promise<Map<string, Buffer>> {
      const { Contents = [] } = await lab.s3.client().send(new ListObjectsV2Command({ Bucket: deployment.bucket }));
      const copies = new Map<string, Buffer>();
      for (const { Key = "" } of Contents) {
        const { Body } = await lab.s3.client().send(new GetObjectCommand({ Bucket: deployment.bucket, Key }));
        copies.set(Key.replace(prefix, ""), Buffer.from((await Body?.transformToByteArray()) ?? []));
      }
      return copies;
    }

    function copiesOnNas(): Map<string, Buffer> {
      const place = `/ct${vmid}`;
      return new Map(lab.nas.list(place).map((name) => [name, fs.readFileSync(lab.nas.file(place, name))]));
    }

    /** Decrypts the copy that a manifest speaks of, if need be, and compares its SHA-256. */
    async function expectWhole(copies: ReadonlyMap<string, Buffer>, name: string): Promise<void> {
      const text = copies.get(name) ?? assert.fail(name);
      const manifest = JSON.parse(text.toString("utf8")) as { sha256: string; off_host: { file: string } };
      const { file } = manifest.off_host;
      assert.equal(file.endsWith(".age"), encrypted, file);
      const copy = path.join(home, file);
      fs.writeFileSync(copy, copies.get(file) ?? assert.fail(file));
      if (encrypted) await run(["age", "-d", "-i", path.join(home, "key.txt"), "-o", `${copy}.plain`, copy]);
      const plain = fs.readFileSync(encrypted ? `${copy}.plain` : copy);
      assert.equal(createHash("sha256").update(plain).digest("hex"), manifest.sha256, file);
    }

    async function everything(): Promise<string> {
      const dump = await deployment.run(["pg_dumpall"], "postgres");
      return dump.replace(/^\\(un)?restrict .*$/gm, "");
    }
  });
}

function seconds(since: number): number {
  return Math.round((Date.now() - since) / 1000);
}
