# The listener that browsers reach. Vault drops the headers of a plugin's pages unless the mount is tuned to let them
# through, so what forbids to frame the pages is set here.

listener "tcp" {
  address       = "0.0.0.0:8200"
  tls_cert_file = "/etc/vault/tls.crt"
  tls_key_file  = "/etc/vault/tls.key"

  # Behind a load balancer: whose X-Forwarded-For to believe, or the quota on the callback counts all browsers as one.
  x_forwarded_for_authorized_addrs   = "10.0.0.0/8"
  x_forwarded_for_reject_not_present = false

  custom_response_headers {
    "default" = {
      "X-Frame-Options" = ["DENY"]
    }
  }
}
