/** Where a segment is put together: bytes that grow as needed, and are used again for the next one. Integers are big-endian. */
export class SegmentBuffer {
  #bytes = Buffer.allocUnsafeSlow(1 << 20);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  /** Forgets what is in it. */
  clear(): void {
    this.#length = 0;
  }

  /** What is in it; overwritten by the next segment. */
  view(): Buffer {
    return this.#bytes.subarray(0, this.#length);
  }

  bytes(data: Uint8Array): void {
    this.#grow(data.length);
    this.#bytes.set(data, this.#length);
    this.#length += data.length;
  }

  /** Appends so many bytes and gives them to be written; what is in them before is anything. */
  claim(length: number): Buffer {
    this.#grow(length);
    this.#length += length;
    return this.#bytes.subarray(this.#length - length, this.#length);
  }

  text(latin1: string): void {
    this.bytes(Buffer.from(latin1, 'latin1'));
  }

  /** Appends, or overwrites what is at `at`. */
  uint32(value: number, at?: number): void {
    if (at === undefined) this.#grow(4);
    this.#bytes.writeUInt32BE(value, at ?? this.#length);
    if (at === undefined) this.#length += 4;
  }

  uint64(value: number): void {
    this.#grow(8);
    this.#bytes.writeBigUInt64BE(BigInt(value), this.#length);
    this.#length += 8;
  }

  /** A box of ISO/IEC 14496-12 §4.2 around what `content` appends; less than 4 GiB. */
  box(type: string, content: () => void): void {
    const start = this.#length;
    this.uint32(0);
    this.text(type);
    content();
    this.uint32(this.#length - start, start);
  }

  #grow(more: number): void {
    if (this.#length + more <= this.#bytes.length) return;
    const larger = Buffer.allocUnsafeSlow(Math.max(2 * this.#bytes.length, this.#length + more));
    this.#bytes.copy(larger, 0, 0, this.#length);
    this.#bytes = larger;
  }
}
