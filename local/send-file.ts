import type { IncomingMessage, ServerResponse } from 'node:http';
import send, { type SendOptions, type SendStream } from 'send';

/** Sends the file that a request names, below `options.root`. The query is no part of the name. */
export function sendFile(
  request: IncomingMessage,
  response: ServerResponse,
  options: SendOptions,
  listen: (stream: SendStream) => void = () => undefined,
): void {
  const [path = '/'] = (request.url ?? '/').split('?', 1);
  const stream = send(request, path, { dotfiles: 'ignore', ...options });
  listen(stream);
  stream.pipe(response);
}
