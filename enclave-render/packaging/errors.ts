export type PackagingErrorCode =
  /** The source cannot be read, or is not an MP4 or MOV file with video or audio. */
  | 'ERR_PACKAGE_SOURCE'
  /** A track that no rendition would hold. */
  | 'ERR_PACKAGE_TRACK'
  /** A codec that the container does not take: the source has to be transcoded. */
  | 'ERR_PACKAGE_CODEC'
  /** Key frames are further apart than a segment may last. */
  | 'ERR_PACKAGE_KEY_FRAMES'
  /** Several sources that cannot be renditions of one title: cut at other times, or of other lengths. */
  | 'ERR_PACKAGE_RENDITIONS'
  /** Options that exclude each other. */
  | 'ERR_PACKAGE_OPTIONS'
  /** The output is there already. */
  | 'ERR_PACKAGE_EXISTS'
  /** The output cannot be written. */
  | 'ERR_PACKAGE_OUTPUT'
  /** Transcoding was asked for, and there is no ffmpeg on the PATH. */
  | 'ERR_PACKAGE_FFMPEG_MISSING'
  /** ffmpeg did not do it. */
  | 'ERR_PACKAGE_FFMPEG'
  /** Not the folder of a packaged title, or not of one that can be a live channel. */
  | 'ERR_PACKAGE_TITLE'
  /** A table of content keys that is none, or speaks of keys that are no content keys. */
  | 'ERR_PACKAGE_KEY_TABLE'
  /** What the linter was given cannot be fetched, or is neither a playlist nor an MPD. */
  | 'ERR_PACKAGE_LINT';

/** Why a title could not be packaged, served or checked. The message says what to do next; it holds no key. */
export class PackagingError extends Error {
  readonly code: PackagingErrorCode;
  constructor(code: PackagingErrorCode, message: string) {
    super(message);
    this.name = 'PackagingError';
    this.code = code;
  }
}
