import { finished, PassThrough, type Readable } from 'node:stream';

/**
 * A body whose errors are those of the port. It ends at once when it is destroyed, also while the store sends nothing, and destroys
 * what it reads from; a body that closes before its end has failed.
 */
export function translatedBody(body: Readable, asError: (error: unknown) => unknown): Readable {
  const translated = new PassThrough();
  finished(body, { writable: false }, (error) => {
    if (error) translated.destroy(asError(error) as Error);
  });
  translated.once('close', () => body.destroy());
  return body.pipe(translated);
}
