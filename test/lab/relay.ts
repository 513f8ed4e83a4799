/** A TCP relay in front of the lab's host: what a test can cut, where the host itself serves other tests too. */
import * as net from "node:net";
import { addresses } from "../../lab/network";

export class Relay {
  /** Called before a connection is passed on, with its number, from 1; it waits meanwhile. */
  onConnection: (number: number) => Promise<void> = () => Promise.resolve();
  private readonly open = new Set<net.Socket>();
  private count = 0;

  private constructor(private server: net.Server) {}

  static async start(): Promise<Relay> {
    const relay = new Relay(net.createServer());
    await relay.listen(0);
    return relay;
  }

  /** Settings that lead a stack through it. */
  get settings() {
    return { host: "127.0.0.1", hostPort: this.port };
  }

  /** Ends every connection without a word, and admits none any more. */
  async cut(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.server.close(() => resolve()));
    for (const socket of this.open) socket.destroy();
    await closed;
  }

  /** Makes good what was cut. */
  async mend(): Promise<void> {
    const { port } = this;
    this.server = net.createServer();
    await this.listen(port);
  }

  private port = 0;

  private async listen(port: number): Promise<void> {
    this.server.on("connection", (client) => {
      const host = net.connect({ host: addresses.host, port: 22, noDelay: true });
      for (const socket of [client, host]) {
        this.open.add(socket);
        socket.pause();
        socket.on("error", () => undefined);
        socket.on("close", () => {
          this.open.delete(socket);
          client.destroy();
          host.destroy();
        });
      }
      this.count += 1;
      this.onConnection(this.count).then(
        () => {
          client.pipe(host);
          host.pipe(client);
        },
        () => client.destroy(),
      );
    });
    await new Promise<void>((resolve) => this.server.listen(port, "127.0.0.1", resolve));
    this.port = (this.server.address() as net.AddressInfo).port;
  }
}
