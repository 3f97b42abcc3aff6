/** A distribution: a number that is always the same, one between two, or a log-normal one by its median and 90th percentile. */
export type Draw = number | { from: number; to: number } | { median: number; p90: number; most: number };

const BASE62 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789';
const BASE64URL = `${BASE62}-_`;
/** The 90th percentile of the standard normal distribution. */
const Z90 = 1.2815515655446004;

/**
 * Numbers that look random and are the same for the same seeds: xoshiro128** 1.1 (Blackman and Vigna, public domain,
 * prng.di.unimi.it/xoshiro128starstar.c), its state filled by the finaliser of MurmurHash3 over a Weyl sequence, as
 * splitmix does. Not for secrets.
 */
export class Random {
  #a: number;
  #b: number;
  #c: number;
  #d: number;

  /** One stream of numbers for each list of seeds, whole numbers below 2^32. */
  constructor(...seeds: number[]) {
    let weyl = 0x9e3779b9;
    const next = (seed: number) => {
      weyl = (weyl + 0x9e3779b9) | 0;
      return mix(Math.imul(mix(seed ^ weyl), 0x2c1b3c6d) + weyl);
    };
    const folded = seeds.reduce((sum, seed) => next(sum ^ seed), 0);
    this.#a = next(folded);
    this.#b = next(this.#a ^ folded);
    this.#c = next(this.#b ^ folded);
    this.#d = next(this.#c ^ folded) | 1;
  }

  /** A whole number from 0 to 2^32 − 1. */
  uint32(): number {
    const product = Math.imul(this.#b, 5);
    const result = Math.imul((product << 7) | (product >>> 25), 9);
    const shifted = this.#b << 9;
    this.#c ^= this.#a;
    this.#d ^= this.#b;
    this.#b ^= this.#c;
    this.#a ^= this.#d;
    this.#c ^= shifted;
    this.#d = (this.#d << 11) | (this.#d >>> 21);
    return result >>> 0;
  }

  /** From 0 up to, but not, 1. */
  fraction(): number {
    return this.uint32() / 0x1_0000_0000;
  }

  /** A whole number from `from` to `to`, both included. */
  whole(from: number, to: number): number {
    return from + Math.floor(this.fraction() * (to - from + 1));
  }

  between(from: number, to: number): number {
    return from + this.fraction() * (to - from);
  }

  chance(probability: number): boolean {
    return this.fraction() < probability;
  }

  /** How long until the next of events that happen `perHour` times an hour, in seconds. */
  untilNext(perHour: number): number {
    return perHour > 0 ? (-Math.log(1 - this.fraction()) / perHour) * 3600 : Number.POSITIVE_INFINITY;
  }

  draw(draw: Draw): number {
    if (typeof draw === 'number') return draw;
    if ('from' in draw) return this.between(draw.from, draw.to);
    const sigma = Math.log(draw.p90 / draw.median) / Z90;
    return Math.min(draw.median * Math.exp(sigma * this.#normal()), draw.most);
  }

  /** One of a list. Throws `RangeError` when it is empty. */
  pick<T>(list: readonly T[]): T {
    const picked = list[this.whole(0, list.length - 1)];
    if (picked === undefined) throw new RangeError('nothing to pick from');
    return picked;
  }

  /** One of a list, each as likely as its weight says. */
  pickWeighted<T>(list: readonly (readonly [item: T, weight: number])[]): T {
    let left = this.fraction() * list.reduce((sum, [, weight]) => sum + weight, 0);
    for (const [item, weight] of list) {
      left -= weight;
      if (left < 0) return item;
    }
    return this.pick(list)[0];
  }

  /** Letters and digits. */
  letters(length: number): string {
    return this.#text(BASE62, length);
  }

  /** Characters of base64url. */
  base64url(length: number): string {
    return this.#text(BASE64URL, length);
  }

  /** A stream of its own, so that what draws from it does not change what others draw. */
  fork(): Random {
    return new Random(this.uint32(), this.uint32());
  }

  #text(alphabet: string, length: number): string {
    let text = '';
    while (text.length < length) text += alphabet[this.whole(0, alphabet.length - 1)];
    return text;
  }

  /** Box and Muller's transform. */
  #normal(): number {
    return Math.sqrt(-2 * Math.log(1 - this.fraction())) * Math.cos(2 * Math.PI * this.fraction());
  }
}

/** The finaliser of MurmurHash3 (Appleby, public domain). */
function mix(value: number): number {
  let x = value | 0;
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return x ^ (x >>> 16);
}
