variable "edge" {
  type        = string
  default     = null
  description = "Folder of the built edge functions and their manifest; dist/edge of this checkout unless given."
}
