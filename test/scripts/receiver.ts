import * as http from "node:http";
import type { AddressInfo } from "node:net";

/** A request that arrived whole. */
export interface Post {
  readonly url: string;
  readonly type: string;
  readonly body: string;
}

/** What receives webhooks and pings: answers `status`, or nothing to requests whose URL contains `stalled`. */
export class Receiver {
  readonly posts: Post[] = [];
  status = 200;
  private readonly server = http.createServer((request, response) => {
    let body = "";
    request.on("data", (chunk: Buffer) => (body += chunk.toString()));
    request.on("end", () => {
      const url = request.url ?? "";
      if (url.includes("stalled")) return;
      this.posts.push({ url, type: String(request.headers["content-type"]), body });
      response.writeHead(this.status).end();
    });
  });

  /** Returns its URL, without a path. */
  async listen(address = "127.0.0.1"): Promise<string> {
    await new Promise<void>((resolve) => this.server.listen(0, address, resolve));
    return `http://${address}:${(this.server.address() as AddressInfo).port}`;
  }

  close(): void {
    this.server.closeAllConnections();
    this.server.close();
  }
}
