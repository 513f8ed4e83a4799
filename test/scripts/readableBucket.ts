import * as http from "node:http";
import type { AddressInfo } from "node:net";

/** The key that may read it, as restore.sh takes it from the environment. */
export const reader = { S3_READER_ACCESS_KEY_ID: "AKIAREADER", S3_READER_SECRET_ACCESS_KEY: "reader's secret" };

/** A bucket of which a reader's key sees everything and any other nothing; two names a page. */
export class ReadableBucket {
  readonly objects = new Map<string, Buffer>();
  stall: string | undefined;
  private readonly server = http.createServer((request, response) => {
    const url = new URL(request.url ?? "", "http://localhost");
    const key = url.pathname.replace(/^\/bucket\//, "");
    if (this.stall === key) return void response.write(Buffer.alloc(1_000_000));
    if (!String(request.headers.authorization).includes(`Credential=${reader.S3_READER_ACCESS_KEY_ID}/`)) {
      return void response.writeHead(403).end("<Error><Code>AccessDenied</Code></Error>");
    }
    if (url.searchParams.get("list-type") === "2") return void response.end(this.list(url.searchParams));
    const content = this.objects.get(key);
    if (content === undefined) response.writeHead(404);
    response.end(content ?? "<Error><Code>NoSuchKey</Code></Error>");
  });

  private list(query: URLSearchParams): string {
    const from = Number(query.get("continuation-token") ?? 0);
    const keys = [...this.objects.keys()].filter((key) => key.startsWith(query.get("prefix") ?? "")).sort();
    const next = from + 2 < keys.length ? `<NextContinuationToken>${from + 2}</NextContinuationToken>` : "";
    return `<ListBucketResult>${keys
      .slice(from, from + 2)
      .map((key) => `<Contents><Key>${key}</Key></Contents>`)
      .join("")}${next}</ListBucketResult>`;
  }

  async listen(): Promise<string> {
    await new Promise<void>((resolve) => this.server.listen(0, "127.0.0.1", resolve));
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  close(): void {
    this.server.closeAllConnections();
    this.server.close();
  }
}
