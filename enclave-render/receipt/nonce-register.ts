import { type AppendedLines, withAppendedLines } from '../appended-lines.ts';
import { ReceiptError } from './receipt-error.ts';

/** The owner's file of nonces that receipts were accepted with, while nobody else uses it. */
export interface NonceRegister {
  /** SHA-384 of the final statement that a nonce was used for; undefined when it was not. Both hexadecimal. */
  usedFor(nonce: string): string | undefined;
  /** Uses a nonce; it is on the disk when this resolves. Rejects with `ERR_RECEIPT_NONCE`, `ERR_RECEIPT_REGISTER`. */
  use(nonce: string, statementSha384: string): Promise<void>;
}

/**
 * Runs `use` with the register at `path`: a line `<nonce> <SHA-384 of the final statement>` for each, mode 0600, made
 * when it is not there. Rejects with `ERR_RECEIPT_REGISTER` when it cannot be used or something else stands in it: then
 * nothing may be accepted.
 */
export function withNonceRegister<Result>(
  path: string,
  use: (register: NonceRegister) => Promise<Result>,
): Promise<Result> {
  const refused = (why: string) => new ReceiptError('ERR_RECEIPT_REGISTER', `cannot use the nonces in ${path}: ${why}`);
  return withAppendedLines(path, refused, async (file) => {
    const used = usedIn(file, refused);
    return use({
      usedFor: (nonce) => used.get(nonce),
      async use(nonce, statementSha384) {
        if (used.has(nonce)) throw nonceUsed();
        await file.append(`${nonce} ${statementSha384}`);
        used.set(nonce, statementSha384);
      },
    });
  });
}

/** What is thrown for a nonce that was used. */
export function nonceUsed(): ReceiptError {
  return new ReceiptError(
    'ERR_RECEIPT_NONCE',
    'a receipt of this manifest was accepted before: sign a new manifest, with another nonce, for another render',
  );
}

function usedIn({ lines }: AppendedLines, refused: (why: string) => Error): Map<string, string> {
  const used = new Map<string, string>();
  for (const [index, line] of lines.entries()) {
    const [, nonce, statement] = /^([0-9a-f]{64}) ([0-9a-f]{96})$/.exec(line) ?? [];
    if (!nonce || !statement || used.has(nonce)) throw refused(`line ${index + 1} was changed`);
    used.set(nonce, statement);
  }
  return used;
}
