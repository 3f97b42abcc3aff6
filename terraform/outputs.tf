output "function_arn" {
  value       = aws_cloudfront_function.viewer_request.arn
  description = "For function_association at viewer-request."
}

output "key_value_store_arn" {
  value       = aws_cloudfront_key_value_store.edge.arn
  description = "For portcullis key rotate --edge-store, which publishes the keys."
}

output "cache_policy_id" {
  value       = aws_cloudfront_cache_policy.media.id
  description = "For cache_policy_id of a behaviour."
}

output "origin_request_policy_id" {
  value       = aws_cloudfront_origin_request_policy.media.id
  description = "For origin_request_policy_id of a behaviour."
}

output "response_headers_policy_id" {
  value       = aws_cloudfront_response_headers_policy.media.id
  description = "For response_headers_policy_id of a behaviour."
}
