/** A relay in front of a server of the lab, which can cut, stall, slow down or falsify what a client sends. */
import * as fs from "node:fs";
import * as net from "node:net";
import * as path from "node:path";
import { Transform, type Duplex } from "node:stream";
import * as tls from "node:tls";
import { run } from "../../../lab/command";
import type { Lab } from "../../../lab/lab";
import { addresses } from "../../../lab/network";

/** What happens to what a client sends, once it has sent this many bytes on a connection. */
export interface Meddling {
  readonly after: number;
  /** flip: one bit. cut: both ends are closed. stall: nothing goes on any more. slow: 2 MB/s from there. */
  readonly kind: "flip" | "cut" | "stall" | "slow";
}

/** Both ends of a relay. */
export interface Way {
  /** Where it listens: the address of the server itself. */
  readonly address: string;
  /** What listens, and hands over each client that has come. */
  listen(pass: (client: Duplex) => void): net.Server;
  /** A connection to the server. */
  connect(): Duplex;
}

export class Relay {
  meddling: Meddling | undefined;
  port = 0;
  private server = net.createServer();
  private readonly open = new Set<Duplex>();

  private constructor(private readonly way: Way) {}

  static async start(way: Way): Promise<Relay> {
    const relay = new Relay(way);
    await relay.mend();
    return relay;
  }

  /** Ends all connections and takes no more: the port is closed, as of a server that is dead. */
  async cut(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.server.close(() => resolve()));
    for (const socket of this.open) socket.destroy();
    await closed;
  }

  /** Listens again, perhaps in another way. */
  async mend(way: Way = this.way): Promise<void> {
    this.server = way.listen((client) => this.pass(client, way.connect()));
    await new Promise<void>((resolve) => this.server.listen(this.port, way.address, resolve));
    this.port = (this.server.address() as net.AddressInfo).port;
  }

  private pass(client: Duplex, server: Duplex): void {
    const end = () => {
      for (const socket of [client, server]) {
        socket.destroy();
        this.open.delete(socket);
      }
    };
    for (const socket of [client, server]) {
      this.open.add(socket);
      socket.on("error", end);
      socket.on("close", end);
    }
    client.pipe(meddle(this.meddling, end)).pipe(server);
    server.pipe(client);
  }
}

/** To the lab's S3 server. It ends TLS, with the server's own certificate, so that it can meddle inside. */
export function wayToS3(lab: Lab): Way {
  const file = (name: string) => fs.readFileSync(path.join(lab.directory, "s3", name), "utf8");
  return wayToS3As(lab, file("server.key"), file("server.crt"));
}

/** The same with a certificate of its own making, as who sits on the way would. */
export async function impersonateS3(lab: Lab): Promise<Way> {
  const subject = ["-subj", `/CN=${addresses.s3}`, "-addext", `subjectAltName=IP:${addresses.s3}`];
  const options = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1"];
  const { stdout } = await run(["openssl", "req", "-x509", ...options, ...subject, "-keyout", "-", "-out", "-"]);
  return wayToS3As(lab, stdout, stdout);
}

function wayToS3As(lab: Lab, key: string, cert: string): Way {
  const { hostname: host, port } = new URL(lab.s3.endpoint);
  return {
    address: addresses.s3,
    listen: (pass) =>
      tls
        .createServer({ key, cert })
        .on("secureConnection", pass)
        .on("tlsClientError", () => undefined),
    connect: () => tls.connect({ host, port: Number(port), ca: lab.s3.caCertificate }),
  };
}

export function wayToNas({ nas }: Lab): Way {
  return {
    address: nas.address,
    listen: (pass) => net.createServer(pass),
    connect: () => net.connect({ host: nas.address, port: nas.server.port }),
  };
}

function meddle(meddling: Meddling | undefined, cut: () => void): Transform {
  let sent = 0;
  return new Transform({
    transform(chunk: Buffer, _, pass) {
      const before = sent;
      sent += chunk.length;
      if (meddling === undefined || sent <= meddling.after) return pass(null, chunk);
      switch (meddling.kind) {
        case "cut":
          return cut();
        case "stall":
          return;
        case "slow":
          setTimeout(() => pass(null, chunk), chunk.length / 2_000);
          return;
        case "flip": {
          const place = meddling.after - before;
          if (place >= 0) chunk[place] = (chunk[place] ?? 0) ^ 1;
          pass(null, chunk);
        }
      }
    },
  });
}
