/**
 * A second S3 server of a lab, to measure with: versitygw, in Go, which takes far less of the processor than moto does.
 * It checks signatures and checksums, but knows no writer that may only put, and no lifecycle rules.
 */
import { randomBytes } from "node:crypto";
import * as fs from "node:fs";
import * as path from "node:path";
import { CreateBucketCommand, ListBucketsCommand, type S3Client } from "@aws-sdk/client-s3";
import { Daemon } from "./daemon";
import { GoProgram } from "./goProgram";
import { addresses, type Network } from "./network";
import type { AccessKey, S3 } from "./s3";
import { until } from "./waiting";

const versitygw = new GoProgram({
  name: "versitygw",
  directory: "s3Gateway",
  package: "github.com/versity/versitygw/cmd/versitygw",
  version: "1.8.0",
});

/** Puts what the server keeps into memory that is its own, and goes with it. */
const inMemory = 'mount -t tmpfs -o mode=700 objects "$0" && exec "$@"';

/** Places in a line of the access log, whose fields are those of AWS; its time is two words. */
const OPERATION = 7;
const STATUS = 10;
/** Milliseconds. */
const TOTAL_TIME = 14;

export class S3Gateway {
  readonly endpoint = `https://${addresses.s3}:9001`;
  private readonly directory: string;
  private readonly daemon: Daemon;

  constructor(
    lab: string,
    private readonly network: Network,
    /** Whose certificate it shows. */
    private readonly s3: S3,
  ) {
    this.directory = path.join(lab, "s3-gateway");
    this.daemon = new Daemon("versitygw", lab);
  }

  /** Its only key, which may do everything. */
  get key(): AccessKey {
    return JSON.parse(fs.readFileSync(this.keyFile, "utf8")) as AccessKey;
  }

  /** Seconds of processor time that the server has taken so far. */
  get cpuSeconds(): number {
    return this.daemon.cpuSeconds;
  }

  /** Seconds that it has taken so far to make objects of their parts: this server copies those for that. */
  get joiningSeconds(): number {
    const milliseconds = fs
      .readFileSync(this.accessLog, "utf8")
      .split("\n")
      .map((line) => line.split(" "))
      .filter((fields) => fields[OPERATION] === "s3_CompleteMultipartUpload" && fields[STATUS] === "200")
      .map((fields) => Number(fields[TOTAL_TIME]));
    return milliseconds.reduce((sum, each) => sum + each, 0) / 1000;
  }

  /** An S3 client, which works in the lab's network only. */
  client(): S3Client {
    return this.s3.client(this.key, this.endpoint);
  }

  /**
   * Starts it anew, with one empty bucket.
   * @param buildLog file for what go says, should the server have to be built (2 minutes)
   */
  async up(bucket: string, buildLog?: string): Promise<void> {
    await this.down();
    await versitygw.build(buildLog);
    const objects = path.join(this.directory, "objects");
    fs.mkdirSync(objects, { recursive: true, mode: 0o700 });
    const key = { accessKeyId: "bench", secretAccessKey: randomBytes(20).toString("hex") };
    fs.writeFileSync(this.keyFile, JSON.stringify(key), { mode: 0o600 });
    const { certificate, key: certificateKey } = this.s3.serverFiles;
    const tls = ["--cert", certificate, "--key", certificateKey];
    const log = ["--quiet", "--access-log", this.accessLog];
    const serve = [versitygw.program, ...log, "--port", new URL(this.endpoint).host, ...tls, "posix", objects];
    const own = ["unshare", "--mount", "sh", "-c", inMemory, objects, ...serve];
    this.daemon.start(this.network.inside(own), {
      PATH: "/usr/sbin:/usr/bin:/sbin:/bin",
      HOME: this.directory,
      ROOT_ACCESS_KEY: key.accessKeyId,
      ROOT_SECRET_KEY: key.secretAccessKey,
    });
    const client = this.client();
    await until(
      "the S3 gateway answers",
      async () => {
        if (this.daemon.pid === undefined) throw new Error(this.daemon.lastWords());
        return client.send(new ListBucketsCommand({})).then(
          () => true,
          () => undefined,
        );
      },
      { timeout: 60_000, every: 200 },
    );
    await client.send(new CreateBucketCommand({ Bucket: bucket }));
  }

  /** Ends the server; its data is gone. */
  async down(): Promise<void> {
    await this.daemon.stop();
    fs.rmSync(this.directory, { recursive: true, force: true });
  }

  private get accessLog(): string {
    return path.join(this.directory, "access.log");
  }

  private get keyFile(): string {
    return path.join(this.directory, "key.json");
  }
}
