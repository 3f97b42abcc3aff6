# The edge of Portcullis without CDK: function, KeyValueStore, policies. The same as infra/stacks/edge-stack.ts; a test compares them.

locals {
  edge     = coalesce(var.edge, "${path.module}/../dist/edge")
  manifest = jsondecode(file("${local.edge}/manifest.json"))
  code     = file("${local.edge}/viewer-request.js")
}

# Keys, revoked sessions and modes are written by Portcullis alone: Terraform knows the store, and nothing that is in it.
resource "aws_cloudfront_key_value_store" "edge" {
  name    = "portcullis"
  comment = "Signing keys, revoked sessions, asset blocks, modes: written by the reconcilers alone"

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_cloudfront_function" "viewer_request" {
  name                         = "portcullis-viewer-request"
  runtime                      = local.manifest.runtime
  comment                      = "Checks the token in the path of every request"
  code                         = local.code
  publish                      = true
  key_value_store_associations = [aws_cloudfront_key_value_store.edge.arn]

  lifecycle {
    precondition {
      condition     = sha256(local.code) == local.manifest.functions["viewer-request.js"].sha256
      error_message = "viewer-request.js is not the function that was built and tested: run npm run build again."
    }
  }
}

resource "aws_cloudfront_cache_policy" "media" {
  name        = "portcullis-media"
  comment     = "Without token and viewer: all sessions share an object"
  min_ttl     = 0
  default_ttl = 86400
  max_ttl     = 31536000

  parameters_in_cache_key_and_forwarded_to_origin {
    enable_accept_encoding_gzip   = true
    enable_accept_encoding_brotli = true

    cookies_config {
      cookie_behavior = "none"
    }

    headers_config {
      header_behavior = "none"
    }

    # Parameters of low-latency HLS, which change what a playlist answers (RFC 8216bis, section 6.2.5).
    query_strings_config {
      query_string_behavior = "whitelist"

      query_strings {
        items = ["_HLS_msn", "_HLS_part", "_HLS_skip"]
      }
    }
  }
}

resource "aws_cloudfront_origin_request_policy" "media" {
  name    = "portcullis-media"
  comment = "What the viewer-request function needs to know of a viewer"

  cookies_config {
    cookie_behavior = "none"
  }

  headers_config {
    header_behavior = "whitelist"

    headers {
      items = local.manifest.generatedHeaders
    }
  }

  query_strings_config {
    query_string_behavior = "none"
  }
}

resource "aws_cloudfront_response_headers_policy" "media" {
  name    = "portcullis-media"
  comment = "Who may read media and denials; headers that make browsers careful"

  cors_config {
    access_control_allow_credentials = false
    access_control_max_age_sec       = 86400
    origin_override                  = true

    access_control_allow_origins {
      items = local.manifest.settings.allowedOrigins
    }

    access_control_allow_methods {
      items = ["GET", "HEAD", "OPTIONS"]
    }

    access_control_allow_headers {
      items = ["*"]
    }

    access_control_expose_headers {
      items = ["x-portcullis-reason", "content-length", "content-range", "date"]
    }
  }

  security_headers_config {
    content_type_options {
      override = true
    }

    frame_options {
      frame_option = "DENY"
      override     = true
    }

    # The path holds a token: no other site is told of it.
    referrer_policy {
      referrer_policy = "no-referrer"
      override        = true
    }

    strict_transport_security {
      access_control_max_age_sec = 31536000
      override                   = true
    }
  }
}
