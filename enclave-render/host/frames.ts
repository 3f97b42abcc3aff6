import type { Duplex } from 'node:stream';
import { decode, encode } from 'cborg';
import * as v from 'valibot';
import { HostError, type HostErrorCode } from './host-error.ts';
import { FRAME_BYTES } from './messages.ts';

/** Kinds of requests by name, as in `messages.ts`. */
export type Messages = Readonly<Record<string, { request: v.GenericSchema; answer: v.GenericSchema }>>;
export type RequestOf<Of extends Messages, Type extends keyof Of> = v.InferOutput<Of[Type]['request']>;
export type AnswerOf<Of extends Messages, Type extends keyof Of> = v.InferOutput<Of[Type]['answer']>;
export type Handlers<Of extends Messages> = {
  [Type in keyof Of]: (request: RequestOf<Of, Type>) => Promise<AnswerOf<Of, Type>>;
};

/** Most requests of one side that may wait for their answers, until these have been sent. */
export const MOST_UNDER_WAY = 8;

const LENGTH_BYTES = 4;
/** What a code looks like: anything else of the other side is not repeated. */
const CODE = /^ERR_[A-Z0-9_]{1,60}$/;

const id = v.pipe(v.number(), v.safeInteger(), v.minValue(1));
const AnswerSchema = v.variant('ok', [
  v.strictObject({ id, ok: v.literal(true), value: v.unknown() }),
  v.strictObject({ id, ok: v.literal(false), code: v.pipe(v.string(), v.regex(CODE)) }),
]);
const RequestSchema = v.looseObject({ id, type: v.string() });

/** One side of a conversation. */
export interface Connection<Asks extends Messages> {
  /**
   * Asks the other side. Rejects with `ERR_HOST_REFUSED` when it answers with a code, and with the reason that the connection ended for.
   */
  ask<Type extends keyof Asks & string>(type: Type, request: RequestOf<Asks, Type>): Promise<AnswerOf<Asks, Type>>;
  /** Settles when the connection has ended, with the reason: `ERR_HOST_CLOSED` when it was simply closed. */
  readonly ended: Promise<HostError>;
  close(): void;
}

/**
 * Speaks the protocol of `messages.ts` over a stream, both ways at once: `asks` is what this side may ask, `answers` what it is asked,
 * by `handlers`, whose errors go to the other side as their codes. Frames are 4 bytes of length, big-endian, then strict CBOR (RFC 8949):
 * `{id, type, …}` or `{id, ok, value | code}`. Whatever else the other side sends ends the connection, and so do more than
 * `MOST_UNDER_WAY` requests at once, so that it can make this side neither crash nor fill its memory.
 */
export function connect<Asks extends Messages, Answers extends Messages>(
  stream: Duplex,
  asks: Asks,
  answers: Answers,
  handlers: Handlers<Answers>,
): Connection<Asks> {
  const waiting = new Map<
    number,
    { type: string; resolve: (value: unknown) => void; reject: (error: Error) => void }
  >();
  const underWay = new Set<number>();
  let lastId = 0;
  let reason: HostError | undefined;
  let settle: (reason: HostError) => void;
  const ended = new Promise<HostError>((resolve) => {
    settle = resolve;
  });

  const end = (error: HostError) => {
    if (reason) return;
    reason = error;
    stream.destroy();
    for (const { reject } of waiting.values()) reject(error);
    waiting.clear();
    settle(error);
  };

  const answer = async (message: Record<string, unknown>) => {
    const { id, type, ...fields } = v.parse(RequestSchema, message);
    const schema = Object.hasOwn(answers, type) ? answers[type]?.request : undefined;
    const request = schema && v.safeParse(schema, fields);
    if (!request?.success || underWay.has(id)) throw misbehaved('ERR_HOST_MESSAGE', 'a request is none');
    if (underWay.size >= MOST_UNDER_WAY) throw misbehaved('ERR_HOST_FLOOD', 'too many requests at once');
    underWay.add(id);
    // Not awaited: what is asked meanwhile may be needed for the answer.
    handlers[type as keyof Answers](request.output)
      .then(
        (value) => ({ id, ok: true, value }),
        (error) => ({ id, ok: false, code: codeOf(error) }),
      )
      .then((outcome) => send(stream, outcome))
      // Only now: answers that the other side does not read are in the memory of this one.
      .then(() => underWay.delete(id))
      .catch((error) => end(error instanceof HostError ? error : closed()));
  };

  const take = (message: Record<string, unknown>) => {
    const outcome = v.parse(AnswerSchema, message);
    const asked = waiting.get(outcome.id);
    if (!asked) throw misbehaved('ERR_HOST_MESSAGE', 'an answer is to nothing that was asked');
    waiting.delete(outcome.id);
    if (!outcome.ok) {
      const refusal = `the other side refuses ${asked.type}: ${outcome.code}`;
      asked.reject(new HostError('ERR_HOST_REFUSED', refusal, outcome.code));
      return;
    }
    const value = v.safeParse(asks[asked.type]?.answer as v.GenericSchema, outcome.value);
    if (value.success) return asked.resolve(value.output);
    const malformed = misbehaved('ERR_HOST_MESSAGE', `the answer to ${asked.type} is none`);
    asked.reject(malformed);
    throw malformed;
  };

  stream.on('error', () => undefined);
  (async () => {
    for await (const frame of readFrames(stream)) {
      const message = decodeMessage(frame);
      try {
        if ('ok' in message) take(message);
        else await answer(message);
      } catch (error) {
        throw error instanceof v.ValiError ? misbehaved('ERR_HOST_MESSAGE', 'a message has the wrong fields') : error;
      }
    }
  })().then(
    () => end(closed()),
    (error) => end(error instanceof HostError ? error : closed()),
  );

  return {
    ended,
    close: () => end(closed()),
    ask(type, request) {
      if (reason) return Promise.reject(reason);
      const id = ++lastId;
      return new Promise((resolve, reject) => {
        waiting.set(id, { type, resolve: resolve as (value: unknown) => void, reject });
        send(stream, { id, type, ...(request as object) }).catch((error) => {
          waiting.delete(id);
          // Why it ended, if it did, is known as soon as the stream is read to its end.
          if (error instanceof HostError) reject(error);
          else ended.then(reject);
        });
      });
    },
  };
}

/** The frames of a stream until it ends. Throws `ERR_HOST_FRAME` before it takes memory for a frame that is too long. */
async function* readFrames(stream: Duplex): AsyncGenerator<Buffer, void> {
  const head = Buffer.alloc(LENGTH_BYTES);
  let frame = head;
  let filled = 0;
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    for (let at = 0; at < chunk.length; ) {
      const bytes = chunk.copy(frame, filled, at);
      at += bytes;
      filled += bytes;
      if (filled < frame.length) break;
      filled = 0;
      if (frame !== head) {
        yield frame;
        frame = head;
        continue;
      }
      const length = head.readUInt32BE(0);
      if (length === 0 || length > FRAME_BYTES) {
        throw misbehaved('ERR_HOST_FRAME', `a frame of ${length} bytes, where 1 to ${FRAME_BYTES} may be`);
      }
      frame = Buffer.alloc(length);
    }
  }
  if (frame !== head || filled > 0) throw misbehaved('ERR_HOST_FRAME', 'the stream ended within a frame');
}

function send(stream: Duplex, message: object): Promise<void> {
  const content = encode(message);
  if (content.length > FRAME_BYTES) {
    return Promise.reject(new HostError('ERR_HOST_FRAME', 'what is to be sent is longer than a frame'));
  }
  const length = Buffer.alloc(LENGTH_BYTES);
  length.writeUInt32BE(content.length);
  return new Promise((resolve, reject) => {
    stream.write(Buffer.concat([length, content]), (error) => (error ? reject(error) : resolve()));
  });
}

/** Throws `ERR_HOST_MESSAGE` unless it is one map, in CBOR that can be read in one way only. */
function decodeMessage(frame: Uint8Array): Record<string, unknown> {
  try {
    const value = decode(frame, {
      strict: true,
      // An object would take `__proto__` for more than a name.
      useMaps: true,
      rejectDuplicateMapKeys: true,
      allowIndefinite: false,
      allowUndefined: false,
      allowBigInt: false,
      allowInfinity: false,
      allowNaN: false,
    });
    if (value instanceof Map) return objectOf(value) as Record<string, unknown>;
  } catch {
    // Deep nesting ends here too, as an overflow of the stack.
  }
  throw misbehaved('ERR_HOST_MESSAGE', 'a message is no map in strict CBOR');
}

function objectOf(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(objectOf);
  if (!(value instanceof Map)) return value;
  const entries = [...value].map(([name, content]) => {
    if (typeof name !== 'string' || name === '__proto__') throw new TypeError('no name of a field');
    return [name, objectOf(content)] as const;
  });
  return Object.fromEntries(entries);
}

/** What the other side is told of an error: a code, and no words. */
export function codeOf(error: unknown): string {
  const { code, peerCode } = error as { code?: unknown; peerCode?: unknown };
  const told = peerCode ?? code;
  return typeof told === 'string' && CODE.test(told) ? told : 'ERR_INTERNAL';
}

function misbehaved(code: HostErrorCode, what: string): HostError {
  return new HostError(code, `the other side does not keep to the protocol: ${what}`);
}

function closed(): HostError {
  return new HostError('ERR_HOST_CLOSED', 'the other side has ended the connection');
}
