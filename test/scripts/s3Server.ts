import { createHash, createHmac } from "node:crypto";
import * as http from "node:http";
import type { AddressInfo } from "node:net";

/** One request that arrived whole. */
export interface S3Request {
  readonly method: string;
  readonly url: string;
  readonly body: Buffer;
}

/**
 * What to do to requests whose method and URL contain `match`, e.g. `PUT /bucket/ct2320/x`: answer 403 or another code,
 * cut the connection, answer nothing, flip a bit, store it and lose the answer. `times`: how often; always if left out.
 */
export interface Fault {
  readonly match: string | RegExp;
  readonly kind: "deny" | "cut" | "stall" | "flip" | "busy" | "fail late" | "lose";
  times?: number;
}

export const accessKey = "AKIAWRITER";
export const secretKey = `s3cr/et+"key\\${"x".repeat(20)}`;

interface Upload {
  readonly key: string;
  readonly parts: Map<number, Buffer>;
}

interface Refusal {
  readonly status: number;
  readonly code: string;
}

const sha256 = (content: Buffer | string): Buffer => createHash("sha256").update(content).digest();

/**
 * An S3 server for tests: checks signature, payload hash and checksums as AWS does, uploads in parts and If-None-Match
 * included, and records what it accepted. Requests that only look (HEAD) are answered and not recorded.
 */
export class S3Server {
  readonly accepted: S3Request[] = [];
  /** What is stored, by URL path. */
  readonly objects = new Map<string, Buffer>();
  /** Uploads in parts that are neither completed nor aborted, by id. */
  readonly uploads = new Map<string, Upload>();
  fault: Fault | undefined;
  /** Whether it knows If-None-Match; one that does not says NotImplemented. */
  knowsConditions = true;
  /** What it answers to HEAD. */
  head: { status: number; headers?: Record<string, string> } = { status: 403 };
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

  /** Resolves when a request next meets the fault. */
  faultMet(): Promise<void> {
    return new Promise((resolve) => this.met.push(resolve));
  }

  private receive(request: http.IncomingMessage, response: http.ServerResponse): void {
    const method = request.method ?? "";
    const url = request.url ?? "";
    const fault = this.meet(`${method} ${url}`);
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
      if (method === "HEAD") {
        response.writeHead(this.head.status, this.head.headers).end();
        return;
      }
      const answer = this.refuse(request, url, body, fault) ?? this.store(method, url, body, fault);
      if ("code" in answer) {
        response.writeHead(answer.status);
        response.end(`<Error><Code>${answer.code}</Code><Message>said the test's server</Message></Error>`);
        return;
      }
      this.accepted.push({ method, url, body });
      if (fault === "lose") {
        request.socket.destroy();
        return;
      }
      response.writeHead(200, answer.headers);
      response.end(answer.text);
    });
  }

  private meet(request: string): Fault["kind"] | undefined {
    const { fault } = this;
    if (fault === undefined || fault.times === 0) return undefined;
    const meets = typeof fault.match === "string" ? request.includes(fault.match) : fault.match.test(request);
    if (!meets) return undefined;
    if (fault.times !== undefined) fault.times -= 1;
    this.met.splice(0).forEach((resolve) => resolve());
    return fault.kind;
  }

  private refuse(
    request: http.IncomingMessage,
    url: string,
    body: Buffer,
    fault: Fault["kind"] | undefined,
  ): Refusal | undefined {
    if (fault === "deny") return { status: 403, code: "AccessDenied" };
    if (fault === "busy") return { status: 503, code: "SlowDown" };
    const code = this.check(request, url, body);
    if (code !== undefined) return { status: 400, code };
    if (request.headers["if-none-match"] === undefined) return undefined;
    if (!this.knowsConditions) return { status: 501, code: "NotImplemented" };
    return this.objects.has(url.split("?")[0] ?? "") ? { status: 412, code: "PreconditionFailed" } : undefined;
  }

  private store(
    method: string,
    url: string,
    body: Buffer,
    fault: Fault["kind"] | undefined,
  ): Refusal | { headers?: Record<string, string>; text?: string } {
    const [path = "", query = ""] = url.split("?");
    const parameters = new URLSearchParams(query);
    const id = parameters.get("uploadId") ?? "";
    const upload = this.uploads.get(id);
    const checksum = { "x-amz-checksum-sha256": sha256(body).toString("base64") };
    if (parameters.has("tagging")) return this.objects.has(path) ? {} : { status: 404, code: "NoSuchKey" };
    if (method === "POST" && parameters.has("uploads")) {
      const created = `id+${this.uploads.size}/${sha256(path).toString("hex").slice(0, 8)}==`;
      this.uploads.set(created, { key: path, parts: new Map() });
      return { text: `<InitiateMultipartUploadResult><UploadId>${created}</UploadId></InitiateMultipartUploadResult>` };
    }
    if (parameters.has("uploadId")) {
      if (upload?.key !== path) return { status: 404, code: "NoSuchUpload" };
      if (method === "DELETE") {
        this.uploads.delete(id);
        return {};
      }
      if (method === "PUT") {
        upload.parts.set(Number(parameters.get("partNumber")), body);
        return { headers: { ...checksum, etag: `"${createHash("md5").update(body).digest("hex")}"` } };
      }
      if (fault === "fail late") return { text: "<Error><Code>InternalError</Code></Error>" };
      return this.complete(id, upload, body.toString());
    }
    if (method !== "PUT") return { status: 405, code: "MethodNotAllowed" };
    this.objects.set(path, body);
    return { headers: checksum };
  }

  private complete(id: string, { key, parts }: Upload, wanted: string): Refusal | { text: string } {
    const right = [...parts].map(
      ([number, body]) =>
        `<Part><PartNumber>${number}</PartNumber><ETag>"${createHash("md5").update(body).digest("hex")}"</ETag>` +
        `<ChecksumSHA256>${sha256(body).toString("base64")}</ChecksumSHA256></Part>`,
    );
    if (!wanted.includes(`>${right.join("")}<`)) return { status: 400, code: "InvalidPart" };
    const bodies = [...parts.values()];
    if (bodies.slice(0, -1).some((body) => body.length < 5 * 1024 ** 2)) return { status: 400, code: "EntityTooSmall" };
    this.uploads.delete(id);
    this.objects.set(key, Buffer.concat(bodies));
    const composite = sha256(Buffer.concat(bodies.map(sha256))).toString("base64");
    return {
      text: `<CompleteMultipartUploadResult><ChecksumSHA256>${composite}-${bodies.length}</ChecksumSHA256></CompleteMultipartUploadResult>`,
    };
  }

  private check(request: http.IncomingMessage, url: string, body: Buffer): string | undefined {
    const header = (name: string): string => String(request.headers[name] ?? "").trim();
    const digest = sha256(body).toString("hex");
    if (header("x-amz-content-sha256") !== digest) return "XAmzContentSHA256Mismatch";
    const checksum = header("x-amz-checksum-sha256");
    if (request.method === "PUT" && checksum !== sha256(body).toString("base64")) return "BadDigest";
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
    const text = ["AWS4-HMAC-SHA256", header("x-amz-date"), scope, sha256(canonical).toString("hex")];
    const sign = (secret: Buffer | string, part: string): Buffer => createHmac("sha256", secret).update(part).digest();
    const steps = [scope.slice(0, 8), region, "s3", "aws4_request", text.join("\n")];
    const right = steps.reduce<Buffer | string>((secret, part) => sign(secret, part), `AWS4${secretKey}`);
    return Buffer.from(right).toString("hex") === signature ? undefined : "SignatureDoesNotMatch";
  }
}
