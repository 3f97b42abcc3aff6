import type { IncomingMessage, ServerResponse } from 'node:http';
import send, { type SendOptions, type SendStream } from 'send';

/** Sends the file of that path, in which escapes are undone, below `options.root`. */
export function sendFile(
  request: IncomingMessage,
  response: ServerResponse,
  path: string,
  options: SendOptions,
  listen: (stream: SendStream) => void = () => undefined,
): void {
  const stream = send(request, path, { dotfiles: 'ignore', ...options });
  listen(stream);
  stream.pipe(response);
}
