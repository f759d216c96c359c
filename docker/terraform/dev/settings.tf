# All in which this environment differs from the others; tests/infra says which of these may.

locals {
  environment         = "dev"
  cidr                = "10.40.0.0/20"
  deletion_protection = false
  dashboards          = 1
  log_days            = 365

  sizes = {
    gateway   = { cpu = 512, memory = 1024 }
    api       = { cpu = 1024, memory = 4096 }
    dashboard = { cpu = 1024, memory = 2048 }
  }
}
