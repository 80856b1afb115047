/** What has the socket of a daemon and says what it likes when members get a new domain key. */

import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';

export class TakenOverDaemon {
  /** The joining pairs that it shows. */
  pairs: readonly object[] = [];
  /** It is asked to finish. */
  finish: (response: ServerResponse) => unknown = (response) => response.destroy();
  /** How often it was. */
  finished = 0;
  readonly #server = createServer((request, response) => {
    if (request.url?.endsWith('/finish') === true) {
      this.finished++;
      return this.finish(response);
    }
    const keyStores = [{ name: 'default', members: [{ name: 'first' }, { name: 'second' }], domainKeys: [] }];
    const begun = { domainKeyId: '0'.repeat(32), member: 'first', pairs: this.pairs };
    const answer = request.url === '/status' ? { keyStores } : begun;
    return response.setHeader('content-type', 'application/json').end(JSON.stringify(answer));
  });

  async listen(socket: string): Promise<void> {
    await once(this.#server.listen(socket), 'listening');
  }

  close(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }
}
