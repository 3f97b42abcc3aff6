/** What a template may have a renderer do. */
export interface RendererRules {
  /** Free text of a parameter as it stands in an argument, so that it stays text; `before` is the argument before that one. */
  embed(text: string, before: string | undefined): string;
  /** Checks what the template has around free text. Throws `ERR_RENDER_TEMPLATE`. */
  checkAround?(around: string, before: string | undefined, path: string): void;
  /** Checks the arguments and adds those that it is always called with. Throws `ERR_RENDER_TEMPLATE`. */
  prepare(args: readonly string[], path: string): string[];
}
