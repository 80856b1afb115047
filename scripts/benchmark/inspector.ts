/** Talks to the inspector of a Node.js process. */

/** As much of the Chrome DevTools protocol as a profile needs: one question at a time. */
export class Inspector implements AsyncDisposable {
  readonly #socket: WebSocket;
  #lastId = 0;

  private constructor(socket: WebSocket) {
    this.#socket = socket;
  }

  static connect(address: string): Promise<Inspector> {
    const socket = new WebSocket(address);
    return new Promise((resolve, reject) => {
      socket.addEventListener('open', () => resolve(new Inspector(socket)), { once: true });
      socket.addEventListener('error', () => reject(new Error(`cannot connect to \`${address}\``)), { once: true });
    });
  }

  ask<Result>(method: string, params: object = {}): Promise<Result> {
    this.#lastId += 1;
    const id = this.#lastId;
    return new Promise((resolve, reject) => {
      const listen = ({ data }: MessageEvent): void => {
        const answer = JSON.parse(String(data)) as { id?: number; result?: Result; error?: { message: string } };
        if (answer.id !== id) return;
        this.#socket.removeEventListener('message', listen);
        if (answer.result === undefined) reject(new Error(`${method}: ${answer.error?.message}`));
        else resolve(answer.result);
      };
      this.#socket.addEventListener('message', listen);
      this.#socket.send(JSON.stringify({ id, method, params }));
    });
  }

  [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise<void>((resolve) => {
      this.#socket.addEventListener('close', () => resolve(), { once: true });
    });
    this.#socket.close();
    return closed;
  }
}
