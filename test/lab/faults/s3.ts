/** Faults on the way to the bucket, and there. */
import { DeleteUserPolicyCommand, GetAccessKeyLastUsedCommand, PutUserPolicyCommand } from "@aws-sdk/client-iam";
import { GetUserPolicyCommand, ListUserPoliciesCommand } from "@aws-sdk/client-iam";
import { configuration, type Nights } from "./nights";
import { impersonateS3, type Meddling } from "./relay";
import type { Act, Fault, FaultGroup } from "./fault";

const cut: Act = ({ ways }) => ways.s3.cut();
const mend: Act = ({ ways }) => ways.s3.mend();

/** The way is bad once so much of an upload has passed: more than a request's headers, less than a dump. */
const onTheWay = (name: string, kind: Meddling["kind"], says: RegExp | undefined, after = 200_000): Fault => ({
  name,
  inject: async ({ ways }) => {
    ways.s3.meddling = { kind, after };
  },
  status: says === undefined ? "0" : "1",
  says,
  tonight: says === undefined ? "off-host" : "only here",
  heal: async ({ ways }) => {
    ways.s3.meddling = undefined;
  },
});

const cutInAPart = onTheWay(
  "The connection is cut in the middle of a part of a large dump",
  "cut",
  /off-host copy: PUT .*: curl: /,
  3_000_000,
);

const withSetting = (name: string, setting: string, says: RegExp): Fault => ({
  name,
  inject: (nights) => nights.set(setting),
  status: "1",
  says,
  tonight: "only here",
  heal: (nights) => nights.restoreSettings(),
});

export const s3Faults: FaultGroup = {
  title: "Copies in the bucket",
  faults: [
    {
      name: "S3 refuses (403): the writer has lost its policy",
      inject: withdrawPolicy,
      status: "1",
      says: /refused with HTTP 403 AccessDenied/,
      tonight: "only here",
      heal: givePolicyBack,
    },
    {
      name: "S3 refuses (403): the secret is another's",
      inject: (nights) => nights.shell(`echo S3_SECRET_ACCESS_KEY=wrong >>${configuration}/backup-secrets.env`),
      status: "1",
      says: /refused with HTTP 403 SignatureDoesNotMatch/,
      tonight: "only here",
      heal: (nights) => nights.restoreSettings(),
    },
    withSetting(
      "A bucket that does not exist",
      "S3_BUCKET=no-such-bucket",
      /off-host target S3, .*: there is no bucket 'no-such-bucket' \(S3_BUCKET\)/,
    ),
    withSetting(
      "The wrong region",
      "S3_REGION=eu-west-3",
      /S3_REGION is 'eu-west-3': must be 'us-east-1', where bucket/,
    ),
    withSetting(
      "A name of the server that nobody knows",
      "S3_ENDPOINT=https://no-such-host.invalid:9000",
      /S3_ENDPOINT 'https:\/\/no-such-host.invalid:9000': its name is not known/,
    ),
    {
      name: "S3 is dead: nothing listens",
      inject: cut,
      status: "1",
      says: /off-host target S3, .*: connection refused or no way there/,
      tonight: "only here",
      heal: mend,
    },
    {
      name: "S3 is dead, and UNREACHABLE_TARGET is 'refuse'",
      inject: (nights) => nights.ways.s3.cut().then(() => nights.set("UNREACHABLE_TARGET=refuse")),
      status: "1",
      says: /nothing is dumped, because https:.* is out of reach and UNREACHABLE_TARGET is 'refuse'/,
      tonight: "none",
      heal: (nights) => nights.ways.s3.mend().then(() => nights.restoreSettings()),
    },
    onTheWay("S3 takes connections and says nothing", "stall", /off-host target S3, .*: no answer in time/, 0),
    onTheWay(
      "S3 stalls in the middle of the upload",
      "stall",
      /stalled or unreachable \(less than 1 kB\/s for \d+ s\)/,
    ),
    onTheWay("The connection is cut in the middle of the upload", "cut", /off-host copy: PUT .*: curl: /),
    {
      ...cutInAPart,
      inject: async (nights) => {
        await nights.sql(`CREATE TABLE scans AS SELECT n AS id, (SELECT string_agg(sha512((n::text || m)::bytea), '')
          FROM generate_series(51, 1000) m) AS scan FROM generate_series(1, 150) n`);
        await cutInAPart.inject?.(nights);
      },
      heal: (nights) => nights.sql("DROP TABLE scans").then(() => cutInAPart.heal?.(nights)),
    },
    onTheWay("A bit flips on the way (inside TLS)", "flip", /refused with HTTP 400/),
    onTheWay("S3 is slow", "slow", undefined),
    {
      name: "S3 shows a certificate of another authority",
      inject: async ({ ways, deployment }) => {
        await ways.s3.cut();
        await ways.s3.mend(await impersonateS3(deployment.lab));
      },
      status: "1",
      says: /no TLS connection: .*certificate.*S3_CA_FILE is/,
      tonight: "only here",
      heal: (nights) => cut(nights).then(() => mend(nights)),
    },
  ],
};

let withdrawn: { UserName: string; PolicyName: string; PolicyDocument: string };

async function withdrawPolicy(nights: Nights): Promise<void> {
  const iam = nights.deployment.lab.s3.iam();
  const AccessKeyId = await nights.shell(`. ${configuration}/backup-secrets.env; echo -n "$S3_ACCESS_KEY_ID"`);
  const { UserName = "" } = await iam.send(new GetAccessKeyLastUsedCommand({ AccessKeyId }));
  const { PolicyNames: [PolicyName = ""] = [] } = await iam.send(new ListUserPoliciesCommand({ UserName }));
  const { PolicyDocument = "" } = await iam.send(new GetUserPolicyCommand({ UserName, PolicyName }));
  withdrawn = { UserName, PolicyName, PolicyDocument: decodeURIComponent(PolicyDocument) };
  await iam.send(new DeleteUserPolicyCommand({ UserName, PolicyName }));
}

async function givePolicyBack({ deployment }: Nights): Promise<void> {
  await deployment.lab.s3.iam().send(new PutUserPolicyCommand(withdrawn));
}
