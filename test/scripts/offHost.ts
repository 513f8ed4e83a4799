import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import { NasServer } from "./nasServer";
import { ReadableBucket, reader } from "./readableBucket";
import { type Site } from "./site";

/** Off-host copies for tests, wherever they are. */
export interface OffHost {
  /** As `--from` has it. */
  readonly from: "s3" | "nas";
  /** Beginning of where it is, for people. */
  readonly place: string;
  /** Values of backup.env. */
  readonly settings: Record<string, string>;
  /** Values of the environment with which it is read. */
  readonly reader: NodeJS.ProcessEnv;
  /** What is typed where they are not set; empty where nothing is asked. */
  readonly typed: string;
  /** No process may show it. */
  readonly secret: string;
  start(): Promise<void>;
  put(name: string, content: Buffer): void;
  remove(name: string): void;
  clear(): void;
  /** From now on, this object comes in part, then nothing more. Undone by `clear`. */
  stall(site: Site, name: string): void;
  stop(): Promise<void>;
}

export class S3Copies implements OffHost {
  readonly from = "s3";
  readonly place = "http://";
  readonly reader = reader;
  readonly typed = "AKIAREADER\nreader's secret\n";
  readonly secret = "reader's secret";
  private readonly bucket = new ReadableBucket();
  private endpoint = "";

  get settings(): Record<string, string> {
    return { S3_BUCKET: "bucket", S3_ENDPOINT: this.endpoint, S3_STALL_SECONDS: "60" };
  }

  async start(): Promise<void> {
    this.endpoint = await this.bucket.listen();
  }

  put(name: string, content: Buffer): void {
    this.bucket.objects.set(`ct2320/${name}`, content);
  }

  remove(name: string): void {
    this.bucket.objects.delete(`ct2320/${name}`);
  }

  clear(): void {
    this.bucket.stall = undefined;
    this.bucket.objects.clear();
  }

  stall(_: Site, name: string): void {
    this.bucket.stall = `ct2320/${name}`;
  }

  stop(): Promise<void> {
    this.bucket.close();
    return Promise.resolve();
  }
}

export class NasCopies implements OffHost {
  readonly from = "nas";
  readonly place = "rsync://";
  readonly reader = {};
  readonly typed = "";
  readonly server: NasServer;

  /** @param owner account on this machine whose job logs in */
  constructor(owner: string) {
    this.server = new NasServer(owner);
  }

  get settings(): Record<string, string> {
    return { ...this.server.settings, NAS_STALL_SECONDS: "60" };
  }

  get secret(): string {
    return fs.readFileSync(this.server.keyFile, "utf8").split("\n")[1] ?? "";
  }

  start(): Promise<void> {
    return this.server.start();
  }

  put(name: string, content: Buffer): void {
    fs.mkdirSync(this.server.file(""), { recursive: true });
    fs.writeFileSync(this.server.file(name), content);
  }

  remove(name: string): void {
    fs.rmSync(this.server.file(name));
  }

  clear(): void {
    fs.rmSync(this.server.file(""), { recursive: true, force: true });
    fs.mkdirSync(this.server.file(""));
  }

  stall(site: Site, name: string): void {
    execFileSync("truncate", ["--size=50M", this.server.file(name)]);
    site.shadow(
      "rsync",
      `if [[ "$*" == */${name}' '* ]]; then set -- --bwlimit=100 "$@"; fi; exec /usr/bin/rsync "$@"`,
    );
  }

  stop(): Promise<void> {
    return this.server.remove();
  }
}
