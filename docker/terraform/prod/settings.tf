# All in which this environment differs from the others; tests/infra says which of these may.

locals {
  environment         = "prod"
  cidr                = "10.42.0.0/20"
  deletion_protection = true
  dashboards          = 2
  log_days            = 365

  sizes = {
    gateway   = { cpu = 1024, memory = 2048 }
    api       = { cpu = 2048, memory = 8192 }
    dashboard = { cpu = 2048, memory = 4096 }
  }
}
