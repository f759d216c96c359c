terraform {
  required_version = ">= 1.10"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 3.39, < 7.0"
    }
  }

  # Bucket and key of the state are given to `terraform init`: see README.md.
  backend "s3" {}
}

provider "aws" {
  region              = var.region
  allowed_account_ids = [var.account_id] # not into another environment's account by mistake

  default_tags {
    tags = {
      Project     = "mbo"
      Environment = local.environment
    }
  }
}
