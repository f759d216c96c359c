# What an account has and no file of this repository knows. The module says what each has to look like.

variable "account_id" {
  description = "AWS account of this environment."
  type        = string

  validation {
    condition     = can(regex("^[0-9]{12}$", var.account_id))
    error_message = "An account has twelve digits."
  }
}

variable "region" {
  description = "AWS region."
  type        = string
}

variable "zones" {
  description = "Two availability zones of the region."
  type        = list(string)
}

variable "image" {
  description = "Image of all services, in ECR and by digest."
  type        = string
}

variable "recording" {
  description = "DBN file in the image that the gateway replays."
  type        = string
  default     = "/opt/mbo/simulated.mbo.dbn.zst"
}

variable "allowed_cidrs" {
  description = "Address ranges that may open the API and the dashboard."
  type        = list(string)
}

variable "certificate_arn" {
  description = "ACM certificate of the two host names."
  type        = string
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
  description = "S3 bucket for the load balancer's access log."
  type        = string
}

variable "store" {
  description = "ClickHouse, as http(s)://user@host:port/database."
  type        = string
}

variable "store_cidrs" {
  description = "Address ranges of the store."
  type        = list(string)
}

variable "api_keys_secret_arn" {
  description = "Secret with the API's keys."
  type        = string
}

variable "gateway_key_secret_arn" {
  description = "Secret with the gateway's key."
  type        = string
}

variable "store_password_secret_arn" {
  description = "Secret with the store's password."
  type        = string
}

variable "secrets_kms_key_arn" {
  description = "KMS key of the three secrets."
  type        = string
}
