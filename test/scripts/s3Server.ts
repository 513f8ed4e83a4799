import { createHash, createHmac } from "node:crypto";
import * as http from "node:http";
import type { AddressInfo } from "node:net";

/** One request that arrived whole. */
export interface S3Request {
  readonly method: string;
  readonly url: string;
  readonly body: Buffer;
}

/** What to do to requests whose URL contains `match`: answer 403, cut the connection, answer nothing, flip a bit. */
export interface Fault {
  readonly match: string;
  readonly kind: "deny" | "cut" | "stall" | "flip";
}

export const accessKey = "AKIAWRITER";
export const secretKey = `s3cr/et+"key\\${"x".repeat(20)}`;

/** An S3 server for tests: checks signature, payload hash and checksum as AWS does, and records what it accepted. */
export class S3Server {
  readonly accepted: S3Request[] = [];
  fault: Fault | undefined;
  /** Resolves with the URL of the next request that met the fault. */
  private met: (() => void)[] = [];
  private readonly server = http.createServer((request, response) => this.receive(request, response));

  async listen(): Promise<string> {
    await new Promise<void>((resolve) => this.server.listen(0, "127.0.0.1", resolve));
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  close(): void {
    this.server.closeAllConnections();
    this.server.close();
  }

  get urls(): string[] {
    return this.accepted.map((request) => request.url);
  }

  faultMet(): Promise<void> {
    return new Promise((resolve) => this.met.push(resolve));
  }

  private receive(request: http.IncomingMessage, response: http.ServerResponse): void {
    const url = request.url ?? "";
    const fault = this.fault !== undefined && url.includes(this.fault.match) ? this.fault.kind : undefined;
    if (fault !== undefined) this.met.splice(0).forEach((resolve) => resolve());
    if (fault === "stall") return;
    if (fault === "cut") {
      request.once("data", () => request.socket.destroy());
      return;
    }
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const body = Buffer.concat(chunks);
      if (fault === "flip" && body.length > 0) body[0] = (body[0] ?? 0) ^ 1;
      const problem = fault === "deny" ? "AccessDenied" : this.check(request, url, body);
      if (problem !== undefined) {
        response.writeHead(problem === "AccessDenied" ? 403 : 400);
        response.end(`<Error><Code>${problem}</Code><Message>said the test's server</Message></Error>`);
        return;
      }
      this.accepted.push({ method: request.method ?? "", url, body });
      response.writeHead(200, { "x-amz-checksum-sha256": createHash("sha256").update(body).digest("base64") });
      response.end();
    });
  }

  private check(request: http.IncomingMessage, url: string, body: Buffer): string | undefined {
    const header = (name: string): string => String(request.headers[name] ?? "").trim();
    const hash = createHash("sha256").update(body);
    const digest = hash.copy().digest("hex");
    if (header("x-amz-content-sha256") !== digest) return "XAmzContentSHA256Mismatch";
    if (header("x-amz-checksum-sha256") !== hash.digest("base64")) return "BadDigest";
    const match =
      /Credential=([^/]+)\/(\d{8}\/([^/]+)\/s3\/aws4_request), ?SignedHeaders=([^,]+), ?Signature=(\w+)/.exec(
        header("authorization"),
      );
    const [, key, scope = "", region = "", signed = "", signature] = match ?? [];
    if (key !== accessKey) return "InvalidAccessKeyId";
    if (!signed.split(";").includes("x-amz-content-sha256")) return "UnsignedPayloadHash";
    const [route = "", query = ""] = url.split("?");
    const headers = signed.split(";").map((name) => `${name}:${header(name)}\n`);
    const canonical = [request.method, route, query, headers.join(""), signed, digest].join("\n");
    const text = [
      "AWS4-HMAC-SHA256",
      header("x-amz-date"),
      scope,
      createHash("sha256").update(canonical).digest("hex"),
    ];
    const sign = (secret: Buffer | string, part: string): Buffer => createHmac("sha256", secret).update(part).digest();
    const steps = [scope.slice(0, 8), region, "s3", "aws4_request", text.join("\n")];
    const right = steps.reduce<Buffer | string>((secret, part) => sign(secret, part), `AWS4${secretKey}`);
    return Buffer.from(right).toString("hex") === signature ? undefined : "SignatureDoesNotMatch";
  }
}
