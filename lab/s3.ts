/** The S3 server of a lab: moto over TLS, which also answers IAM, STS and S3 Control, and enforces IAM's policies. */
import * as fs from "node:fs";
import * as https from "node:https";
import * as path from "node:path";
import { IAMClient } from "@aws-sdk/client-iam";
import { S3Client } from "@aws-sdk/client-s3";
import { run, type Result } from "./command";
import { Daemon } from "./daemon";
import { addresses, type Network } from "./network";
import { source } from "./places";
import { pythonEnvironment } from "./pythonEnvironment";
import { until } from "./waiting";

export interface AccessKey {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
}

const policy = {
  Version: "2012-10-17",
  Statement: [{ Effect: "Allow", Action: "*", Resource: "*" }],
};

export class S3 {
  readonly region = "us-east-1";
  readonly endpoint = `https://${addresses.s3}:9000`;
  private readonly directory: string;
  private readonly daemon: Daemon;

  constructor(
    lab: string,
    private readonly network: Network,
  ) {
    this.directory = path.join(lab, "s3");
    this.daemon = new Daemon("moto", lab);
  }

  /** PEM file of the authority that signed the server's certificate. */
  get caFile(): string {
    return this.file("ca.crt");
  }

  /** That authority's certificate, PEM. */
  get caCertificate(): string {
    return fs.readFileSync(this.caFile, "utf8");
  }

  /** PEM files of the server's certificate and its key. */
  get serverFiles(): { readonly certificate: string; readonly key: string } {
    return { certificate: this.file("server.crt"), key: this.file("server.key") };
  }

  /** A key that may do everything. Another one after the server was started anew. */
  get admin(): AccessKey {
    return JSON.parse(fs.readFileSync(this.file("admin.json"), "utf8")) as AccessKey;
  }

  get running(): boolean {
    return this.daemon.pid !== undefined && fs.existsSync(this.file("admin.json"));
  }

  /** Seconds of processor time that the server has taken so far. */
  get cpuSeconds(): number {
    return this.daemon.cpuSeconds;
  }

  /** An S3 client, which works in the lab's network only. Default: as admin, of this server. */
  client(key: AccessKey = this.admin, endpoint = this.endpoint): S3Client {
    return new S3Client({ ...this.clientOptions(key), endpoint, forcePathStyle: true });
  }

  /** An IAM client, which works in the lab's network only. Default: as admin. */
  iam(key: AccessKey = this.admin): IAMClient {
    return new IAMClient(this.clientOptions(key));
  }

  private clientOptions(credentials: AccessKey) {
    const httpsAgent = new https.Agent({ ca: this.caCertificate, keepAlive: false });
    return { endpoint: this.endpoint, region: this.region, credentials, requestHandler: { httpsAgent } };
  }

  /** Starts the server, unless it runs, with an admin and IAM enforced. It keeps its data in memory. */
  async up(log?: string): Promise<void> {
    if (this.running) return;
    await this.down();
    const bin = await pythonEnvironment(log);
    await this.makeCertificates();
    const [server, port] = [addresses.s3, new URL(this.endpoint).port];
    const { certificate, key } = this.serverFiles;
    const tls = ["-c", certificate, "-k", key];
    const program = [path.join(bin, "python"), source("s3", "server.py")];
    this.daemon.start(this.network.inside([...program, "-H", server, "-p", port, ...tls]), {
      PYTHONDONTWRITEBYTECODE: "1",
      PATH: "/usr/sbin:/usr/bin:/sbin:/bin",
      HOME: this.directory,
    });
    await until(
      "the S3 server answers",
      async () => {
        if (this.daemon.pid === undefined) throw new Error(this.daemon.lastWords());
        return (await this.curl(["--output", "/dev/null", `${this.endpoint}/moto-api/`])).code === 0 ? true : undefined;
      },
      { timeout: 60_000, every: 200 },
    );
    const admin = await this.makeAdmin();
    // From here on nothing goes without a key. moto reads the body only with this content type.
    await this.curl(["-H", "Content-Type: text/plain", "--data", "0", `${this.endpoint}/moto-api/reset-auth`], true);
    fs.writeFileSync(this.file("admin.json"), JSON.stringify(admin), { mode: 0o600 });
  }

  /** Ends the server; its data is gone. */
  async down(): Promise<void> {
    await this.daemon.stop();
    fs.rmSync(this.file("admin.json"), { force: true });
  }

  private async makeCertificates(): Promise<void> {
    fs.mkdirSync(this.directory, { recursive: true, mode: 0o700 });
    if (fs.existsSync(this.serverFiles.certificate)) return;
    const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    const openssl = (...args: string[]) => run(["openssl", ...args], { cwd: this.directory });
    const authority = ["-keyout", "ca.key", "-out", "ca.crt", "-days", "3650", "-subj", "/CN=pgbackup lab authority"];
    await openssl("req", "-x509", ...key, ...authority, "-addext", "keyUsage=critical,keyCertSign,cRLSign");
    await openssl("req", ...key, "-keyout", "server.key", "-out", "server.csr", "-subj", `/CN=${addresses.s3}`);
    fs.writeFileSync(
      this.file("server.ext"),
      `subjectAltName=IP:${addresses.s3}\nextendedKeyUsage=serverAuth\nbasicConstraints=critical,CA:FALSE\n` +
        "authorityKeyIdentifier=keyid\nsubjectKeyIdentifier=hash\n",
    );
    const signing = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "3650", "-extfile", "server.ext"];
    await openssl("x509", "-req", "-in", "server.csr", "-out", "server.crt", ...signing);
  }

  private async makeAdmin(): Promise<AccessKey> {
    const name = "lab-admin";
    await this.ask({ Action: "CreateUser", UserName: name });
    const document = JSON.stringify(policy);
    await this.ask({ Action: "PutUserPolicy", UserName: name, PolicyName: "everything", PolicyDocument: document });
    const answer = await this.ask({ Action: "CreateAccessKey", UserName: name });
    const text = (tag: string): string => {
      const value = new RegExp(`<${tag}>([^<]+)</${tag}>`).exec(answer)?.[1];
      if (value === undefined) throw new Error(`The S3 server's answer has no ${tag}: ${answer}`);
      return value;
    };
    return { accessKeyId: text("AccessKeyId"), secretAccessKey: text("SecretAccessKey") };
  }

  /** One request to IAM, while no key is needed yet: the signature only names the service. */
  private async ask(fields: Readonly<Record<string, string>>): Promise<string> {
    const body = new URLSearchParams({ ...fields, Version: "2010-05-08" }).toString();
    const signed = ["--aws-sigv4", `aws:amz:${this.region}:iam`, "--user", "AKIAEXAMPLE:secret"];
    return (await this.curl([...signed, "--data", body, `${this.endpoint}/`], true)).stdout;
  }

  private curl(args: readonly string[], check = false): Promise<Result> {
    const argv = ["curl", "--silent", "--show-error", "--fail-with-body", "--cacert", this.caFile, ...args];
    return check ? this.network.run(argv) : this.network.attempt(argv);
  }

  private file(name: string): string {
    return path.join(this.directory, name);
  }
}
