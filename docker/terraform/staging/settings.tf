# All in which this environment differs from the others; tests/infra says which of these may.

locals {
  environment         = "staging"
  cidr                = "10.41.0.0/20"
  deletion_protection = false
  dashboards          = 2
  log_days            = 365

  sizes = {
    gateway   = { cpu = 1024, memory = 2048 }
    api       = { cpu = 2048, memory = 8192 }
    dashboard = { cpu = 2048, memory = 4096 }
  }
}
