export { type AssetBlock, isBlocked } from './asset-block.ts';
export { BINDING_DOCS, type BindingDoc } from './binding-docs.ts';
export { BINDINGS, type BindingName, bindingInput, bindingValue, countryOf, DEVICES } from './bindings.ts';
export { type ClaimsSet, readClaims, SESSION_ID } from './claims.ts';
export { CLAIMS_DOCS } from './claims-docs.ts';
export type { MintCrypto, TokenCrypto } from './crypto.ts';
export { canonicalIp } from './ip.ts';
export { KEY_LABELS, type MintingKey, type VerificationKey } from './keys.ts';
export {
  type FixedClaims,
  type MintClaims,
  mint,
  mintPrepared,
  type PolicyBinding,
  type PreparedClaims,
  type PreparedKey,
  parseBinding,
  prepareClaims,
  prepareKey,
  type SessionClaims,
  TokenError,
  type TokenErrorCode,
} from './mint.ts';
export { KEY_ID, MAX_TOKEN_LENGTH, type ParsedToken, parse, stripTokens, TOKEN_TYPE } from './parse.ts';
export { isInScope, isUnsafePath } from './path-scope.ts';
export { REASON_DOCS } from './reason-docs.ts';
export { type Reason, statusOf } from './reasons.ts';
export { redact } from './redact.ts';
export { type Revocation, type VerifyRules, verify } from './verify.ts';
export { addField, type Field, type Fields, fieldValue, parseQuerystring, type Viewing } from './viewer.ts';
