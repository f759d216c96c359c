# Where and what

variable "name" {
  description = "First part of every resource's name, as in mbo-staging."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,18}[a-z0-9]$", var.name))
    error_message = "A name has 3 to 20 small letters, digits and hyphens: a load balancer's name, of which it is a part, has no room for more."
  }
}

variable "environment" {
  description = "Which of the three files of settings the services read (MBO_ENV)."
  type        = string

  validation {
    condition     = contains(["dev", "staging", "prod"], var.environment)
    error_message = "An environment is dev, staging or prod."
  }
}

variable "region" {
  description = "AWS region, the one of the provider."
  type        = string
}

variable "image" {
  description = "Image of all three services, in ECR and by digest: ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME@sha256:DIGEST."
  type        = string

  validation {
    condition     = can(regex("^[0-9]{12}[.]dkr[.]ecr[.][a-z0-9-]+[.]amazonaws[.]com/[a-z0-9._/-]+@sha256:[0-9a-f]{64}$", var.image))
    error_message = "The image has to be in ECR, for the tasks reach no other registry, and named by its digest (@sha256:...), for a tag may move."
  }
}

variable "recording" {
  description = "DBN file in the image that the gateway replays, over and over."
  type        = string
}

# The network

variable "zones" {
  description = "Two availability zones of the region, by name: asked for, a list of them may grow and move subnets."
  type        = list(string)

  validation {
    condition     = length(var.zones) == 2 && length(distinct(var.zones)) == 2
    error_message = "Two different zones are needed, as [\"eu-west-1a\", \"eu-west-1b\"]."
  }
}

variable "cidr" {
  description = "Address range of the VPC, a /16 to /22."
  type        = string

  validation {
    condition     = try(tonumber(split("/", var.cidr)[1]) >= 16 && tonumber(split("/", var.cidr)[1]) <= 22 && cidrnetmask(var.cidr) != "", false)
    error_message = "The VPC's range is written like 10.40.0.0/20, and is a /16 to /22."
  }
}

variable "allowed_cidrs" {
  description = "Address ranges that may open the API and the dashboard, which asks for no password."
  type        = list(string)

  validation {
    condition     = length(var.allowed_cidrs) > 0 && alltrue([for range in var.allowed_cidrs : can(cidrnetmask(range)) && try(tonumber(split("/", range)[1]) >= 8, false)])
    error_message = "Name at least one range like 203.0.113.0/24, none wider than a /8: the dashboard is not for everybody."
  }
}

variable "certificate_arn" {
  description = "ACM certificate of the two host names."
  type        = string

  validation {
    condition     = can(regex("^arn:aws[a-z-]*:acm:", var.certificate_arn))
    error_message = "The certificate is named by its ARN in ACM, arn:aws:acm:..."
  }
}

variable "api_host" {
  description = "Host name of the API."
  type        = string
}

variable "dashboard_host" {
  description = "Host name of the dashboard."
  type        = string
}

variable "access_logs_bucket" {
  description = "S3 bucket for the load balancer's access log, which lets that service write."
  type        = string
}

variable "deletion_protection" {
  description = "Whether the load balancer refuses to be deleted."
  type        = bool
}

# The store

variable "store" {
  description = "ClickHouse, as http(s)://user@host:port/database; its password is a secret."
  type        = string

  validation {
    condition     = can(regex("^https?://[^:@/]+@[^:@/]+:[0-9]{1,5}/[A-Za-z0-9_]+$", var.store))
    error_message = "The store is written https://user@host:8443/database, with its port and without a password."
  }
}

variable "store_cidrs" {
  description = "Address ranges of the store, within the VPC or routed to from it."
  type        = list(string)

  validation {
    condition     = length(var.store_cidrs) > 0 && !contains(var.store_cidrs, "0.0.0.0/0")
    error_message = "Name the store's ranges: not none, and not the whole internet."
  }
}

# Secrets: their ARNs, never their values, which would stand in the state

variable "api_keys_secret_arn" {
  description = "Secret with the lines that `mbo key` makes (MBO_API_KEYS)."
  type        = string

  validation {
    condition     = can(regex("^arn:aws[a-z-]*:secretsmanager:", var.api_keys_secret_arn))
    error_message = "Secrets are named by their ARN in Secrets Manager, arn:aws:secretsmanager:..."
  }
}

variable "gateway_key_secret_arn" {
  description = "Secret with the key of the gateway (MBO_GATEWAY_KEY)."
  type        = string

  validation {
    condition     = can(regex("^arn:aws[a-z-]*:secretsmanager:", var.gateway_key_secret_arn))
    error_message = "Secrets are named by their ARN in Secrets Manager, arn:aws:secretsmanager:..."
  }
}

variable "store_password_secret_arn" {
  description = "Secret with the password of the store's user (MBO_CLICKHOUSE_PASSWORD)."
  type        = string

  validation {
    condition     = can(regex("^arn:aws[a-z-]*:secretsmanager:", var.store_password_secret_arn))
    error_message = "Secrets are named by their ARN in Secrets Manager, arn:aws:secretsmanager:..."
  }
}

variable "secrets_kms_key_arn" {
  description = "KMS key that the three secrets are encrypted with."
  type        = string

  validation {
    condition     = can(regex("^arn:aws[a-z-]*:kms:[^:]+:[0-9]{12}:key/", var.secrets_kms_key_arn))
    error_message = "The key of the secrets is named by its ARN, arn:aws:kms:REGION:ACCOUNT:key/ID."
  }
}

# Sizes

variable "sizes" {
  description = "Processor units (1024 are one) and MiB of memory of each service's task."
  type = object({
    gateway   = object({ cpu = number, memory = number })
    api       = object({ cpu = number, memory = number })
    dashboard = object({ cpu = number, memory = number })
  })
}

variable "dashboards" {
  description = "Tasks of the dashboard. Gateway and API run once each: one clock, one writer of a recorded session."
  type        = number

  validation {
    condition     = var.dashboards >= 1 && floor(var.dashboards) == var.dashboards
    error_message = "At least one dashboard runs."
  }
}

variable "log_days" {
  description = "Days that logs are kept."
  type        = number
}
