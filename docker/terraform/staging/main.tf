module "mbo" {
  source = "../module"

  name        = "mbo-${local.environment}"
  environment = local.environment
  region      = var.region
  image       = var.image
  recording   = var.recording

  zones               = var.zones
  cidr                = local.cidr
  allowed_cidrs       = var.allowed_cidrs
  certificate_arn     = var.certificate_arn
  api_host            = var.api_host
  dashboard_host      = var.dashboard_host
  access_logs_bucket  = var.access_logs_bucket
  deletion_protection = local.deletion_protection

  store       = var.store
  store_cidrs = var.store_cidrs

  api_keys_secret_arn       = var.api_keys_secret_arn
  gateway_key_secret_arn    = var.gateway_key_secret_arn
  store_password_secret_arn = var.store_password_secret_arn
  secrets_kms_key_arn       = var.secrets_kms_key_arn

  sizes      = local.sizes
  dashboards = local.dashboards
  log_days   = local.log_days
}
