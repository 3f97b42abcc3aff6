import { STORE_LIMITS } from '../store/key-value-store.ts';

/**
 * Source of a stand-in for the runtime's `cloudfront` module, in the runtime's own dialect, so that both engines run the
 * same text; `logged` is what the function logged last, `reads` counts. `UNREADABLE` lists beginnings of keys that fail. `READ(key)` must be in scope and return the value or undefined. Like CloudFront it rejects a missing key,
 * a key over the limit, and more than one read at a time is not needed because functions await them one by one.
 */
export const CLOUDFRONT_MODULE = `
function storeValue(key) {
  if (typeof key !== 'string' || key === '' || Buffer.byteLength(key) > ${STORE_LIMITS.keyBytes}) return undefined;
  return READ(key);
}
function storeFails(key) {
  cloudfrontModule.reads++;
  return UNREADABLE.some(function (start) { return String(key).indexOf(start) === 0; });
}
function storeGet(key, options) {
  if (storeFails(key)) return Promise.reject('InternalError');
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
  if (storeFails(key)) return Promise.reject('InternalError');
  return Promise.resolve(storeValue(key) !== undefined);
}
var cloudfrontModule = {
  logged: undefined,
  reads: 0,
  logCustomData: function (text) {
    cloudfrontModule.logged = String(text);
  },
  kvs: function () {
    return { get: storeGet, exists: storeExists };
  },
};
`;
