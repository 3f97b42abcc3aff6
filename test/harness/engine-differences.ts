import { expect } from 'vitest';

/**
 * Where the two engines differ, by suite: names of cases. All of them are denied or can only be made by who holds the signing
 * key, and telling them apart would cost every request. A suite fails when a case beside these is wrong, and when one of
 * these no longer is.
 */
export const ENGINE_DIFFERENCES = {
  /** garbage.test.ts: throws without a request: not an event. */
  requests: [/^no request$/],
  /** garbage.test.ts: a character beyond the basic plane is one character in njs and two in V8, so another reason is found first. */
  uris: [/\.[\w-]{30,}🌲<PATH>"$/u, /🌲[\w-]{30,}<PATH>"$/u],
  /** garbage.test.ts: njs reads numbers that are not JSON, and counts characters, not UTF-16 units, towards the 128 of a text. */
  strange: ['a time with a leading zero', 'a time that ends in a point', '65 letters beyond the basic plane'],
  /** json.test.ts: numbers that njs reads and V8 does not. */
  jsonMembers: [
    'n_number_-01.json',
    'n_number_-2..json',
    'n_number_.2e-3.json',
    'n_number_0.e1.json',
    'n_number_2.e+3.json',
    'n_number_2.e-3.json',
    'n_number_2.e3.json',
    'n_number_neg_int_starting_with_zero.json',
    'n_number_neg_real_without_int_part.json',
    'n_number_real_without_fractional_part.json',
    'n_number_starting_with_dot.json',
    'n_number_with_leading_zero.json',
  ],
};

type Names = readonly (string | RegExp)[];

/** Expects that of all cases those in `open` are wrong, and no other; `wrong` has what happened by the name of the case. */
export function expectNothingWrong(wrong: Record<string, unknown>, open: Names = []): void {
  const isNamed = (name: string, by: string | RegExp) => (typeof by === 'string' ? by === name : by.test(name));
  const others = Object.entries(wrong).filter(([name]) => !open.some((by) => isNamed(name, by)));
  expect(Object.fromEntries(others)).toEqual({});
  const mended = open.filter((by) => !Object.keys(wrong).some((name) => isNamed(name, by)));
  expect(mended, 'no longer wrong, so no longer open').toEqual([]);
}
