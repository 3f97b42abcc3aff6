import { STORE_LIMITS } from '../store/key-value-store.ts';

/**
 * Source of a stand-in for the runtime's `cloudfront` module, in the runtime's own dialect, so that both engines run the
 * same text. `READ(key)` must be in scope and return the value or undefined. Like CloudFront it rejects a missing key,
 * a key over the limit, and more than one read at a time is not needed because functions await them one by one.
 */
export const CLOUDFRONT_MODULE = `
function storeValue(key) {
  if (typeof key !== 'string' || key === '' || Buffer.byteLength(key) > ${STORE_LIMITS.keyBytes}) return undefined;
  return READ(key);
}
function storeGet(key, options) {
  var value = storeValue(key);
  if (value === undefined) return Promise.reject('KeyNotFound');
  var format = options && options.format ? options.format : 'string';
  if (format === 'string') return Promise.resolve(value);
  if (format === 'bytes') return Promise.resolve(Buffer.from(value));
  try {
    return Promise.resolve(JSON.parse(value));
  } catch (e) {
    return Promise.reject('ValueNotJson');
  }
}
function storeExists(key) {
  return Promise.resolve(storeValue(key) !== undefined);
}
var cloudfrontModule = {
  kvs: function () {
    return { get: storeGet, exists: storeExists };
  },
};
`;
