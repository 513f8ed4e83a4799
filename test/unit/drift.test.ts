import assert from "node:assert/strict";
import * as pulumi from "@pulumi/pulumi";
import { type Artefact, file } from "../../components/container";
import { describeDrift, type Finding, inputsDigest, Receipts } from "../../components/container/drift";

const observed = ["type regular file", "mode 0644", "owner root:root", `content ${"a".repeat(64)}`];

function receipts(artefact: Artefact, change: Partial<Finding> = {}, content = "text"): Receipts {
  const receipt = { token: "kept", salt: "salt", inputs: inputsDigest("salt", artefact, content), observed };
  return new Receipts(new Map([["file /etc/app/x", { receipt, now: observed, ...change }]]), "full");
}

function resolved<T>(value: pulumi.Input<T>): Promise<{ value: T; secret: boolean }> {
  const output = pulumi.output(value) as pulumi.Output<T>;
  return new Promise((resolve, reject) => {
    pulumi.isSecret(output).then((secret) => output.apply((plain) => resolve({ value: plain, secret })), reject);
  });
}

describe("drift", () => {
  const artefact = file({ path: "/etc/app/x", content: "text" });

  it("keeps the token while the artefact stands as it was left, with the same inputs", async () => {
    assert.equal((await resolved(receipts(artefact).token(artefact))).value, "kept");
    assert.equal(receipts(artefact).drift(artefact), undefined);
  });

  it("takes a token never used before once something differs", async () => {
    const cases = [
      receipts(artefact, { now: ["missing"] }),
      receipts(artefact, { now: observed.with(1, "mode 0666") }),
      receipts(artefact, {}, "what an interrupted deployment wrote"),
      new Receipts(new Map(), "full"),
    ];
    const tokens = await Promise.all(cases.map(async (each) => (await resolved(each.token(artefact))).value));
    assert.equal(new Set([...tokens, "kept"]).size, 5);
    for (const token of tokens) assert.match(token, /^[0-9a-f]{8}$/);
  });

  it("takes another token each time, so that a container rolled back never looks clean", async () => {
    const rolledBack = receipts(artefact, {}, "older text");
    const first = await resolved(rolledBack.token(artefact));
    const second = await resolved(rolledBack.token(artefact));
    assert.notEqual(first.value, second.value);
  });

  it("does not make the token secret with the content, nor blind to it", async () => {
    const secret = file({ path: "/etc/app/x", content: pulumi.secret("text") });
    assert.deepEqual(await resolved(receipts(secret).token(secret)), { value: "kept", secret: false });
    const changed = file({ path: "/etc/app/x", content: pulumi.secret("other") });
    assert.notEqual((await resolved(receipts(changed).token(changed))).value, "kept");
  });

  it("says in words what changed, and no digest", () => {
    const says = (...now: string[]) => describeDrift(observed, now);
    assert.equal(says(...observed), undefined);
    assert.equal(says("missing"), "it is missing");
    assert.equal(says(...observed.with(1, "mode 0666")), "mode 0666 instead of 0644");
    assert.equal(says(...observed.with(3, `content ${"b".repeat(64)}`)), "content was changed");
    assert.equal(says(...observed.slice(0, 3)), 'lost "content"');
    assert.equal(says(...observed, "drop-in /etc/x.d/y"), 'gained "drop-in /etc/x.d/y"');
    assert.equal(says(...observed.filter((line) => !line.startsWith("owner"))), 'lost "owner root:root"');
  });
});
