# Plans of the module with a mocked provider. Run: terraform -chdir=docker/terraform/module test

mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }

  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }

  mock_data "aws_iam_policy_document" {
    defaults = { json = "{}" }
  }

  mock_resource "aws_lb" {
    defaults = { arn = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:loadbalancer/app/mbo/1" }
  }

  mock_resource "aws_lb_listener" {
    defaults = { arn = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:listener/app/mbo/1/1" }
  }

  mock_resource "aws_lb_target_group" {
    defaults = { arn = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/mbo/1" }
  }

  mock_resource "aws_cloudwatch_log_group" {
    defaults = { arn = "arn:aws:logs:eu-west-1:123456789012:log-group:/mbo" }
  }

  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::123456789012:role/mbo" }
  }

  mock_resource "aws_kms_key" {
    defaults = { arn = "arn:aws:kms:eu-west-1:123456789012:key/1" }
  }

  mock_resource "aws_ecs_task_definition" {
    defaults = { arn = "arn:aws:ecs:eu-west-1:123456789012:task-definition/mbo:1" }
  }

  mock_resource "aws_ecs_cluster" {
    defaults = { arn = "arn:aws:ecs:eu-west-1:123456789012:cluster/mbo" }
  }

  mock_resource "aws_service_discovery_service" {
    defaults = { arn = "arn:aws:servicediscovery:eu-west-1:123456789012:service/1" }
  }
}

variables {
  name                      = "mbo-test"
  environment               = "staging"
  region                    = "eu-west-1"
  zones                     = ["eu-west-1a", "eu-west-1b"]
  image                     = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/mbo@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
  recording                 = "day.dbn.zst"
  cidr                      = "10.99.0.0/20"
  allowed_cidrs             = ["203.0.113.0/24"]
  certificate_arn           = "arn:aws:acm:eu-west-1:123456789012:certificate/11111111-2222-3333-4444-555555555555"
  api_host                  = "api.example.com"
  dashboard_host            = "books.example.com"
  access_logs_bucket        = "access-logs"
  deletion_protection       = true
  store                     = "https://mbo@clickhouse.example.com:8443/mbo"
  store_cidrs               = ["10.60.0.0/24"]
  api_keys_secret_arn       = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:mbo/api-keys-AbCdEf"
  gateway_key_secret_arn    = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:mbo/gateway-key-AbCdEf"
  store_password_secret_arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:mbo/store-password-AbCdEf"
  secrets_kms_key_arn       = "arn:aws:kms:eu-west-1:123456789012:key/11111111-2222-3333-4444-555555555555"
  dashboards                = 2
  log_days                  = 365

  sizes = {
    gateway   = { cpu = 512, memory = 1024 }
    api       = { cpu = 1024, memory = 4096 }
    dashboard = { cpu = 1024, memory = 2048 }
  }
}

run "services" {
  command = plan

  assert {
    condition     = toset(keys(aws_ecs_service.this)) == toset(["gateway", "api", "dashboard"])
    error_message = "Three services run."
  }

  assert {
    condition     = alltrue([for task in aws_ecs_task_definition.this : jsondecode(task.container_definitions)[0].image == var.image])
    error_message = "All run the same image."
  }

  assert {
    condition = alltrue([for task in aws_ecs_task_definition.this :
      jsondecode(task.container_definitions)[0].readonlyRootFilesystem && jsondecode(task.container_definitions)[0].linuxParameters.capabilities.drop == ["ALL"]
    ])
    error_message = "Roots are read-only and capabilities dropped."
  }

  assert {
    condition     = aws_ecs_service.this["gateway"].desired_count == 1 && aws_ecs_service.this["api"].desired_count == 1
    error_message = "There is one clock and one recorder."
  }

  assert {
    condition = alltrue([for name in ["gateway", "api"] :
      aws_ecs_service.this[name].deployment_minimum_healthy_percent == 0 && aws_ecs_service.this[name].deployment_maximum_percent == 100
    ])
    error_message = "A gateway or recorder never runs beside the one that replaces it."
  }

  assert {
    condition     = aws_ecs_service.this["dashboard"].desired_count == 2 && aws_ecs_service.this["dashboard"].deployment_minimum_healthy_percent == 100
    error_message = "Dashboards are replaced one after the other."
  }
}

run "secrets" {
  command = apply # with mocks too: the ARNs of logs, which stand in the same documents, are not known before

  assert {
    condition = { for name, task in aws_ecs_task_definition.this : name => {
      for secret in jsondecode(task.container_definitions)[0].secrets : secret.name => secret.valueFrom
      } } == {
      gateway   = { MBO_GATEWAY_KEY = var.gateway_key_secret_arn }
      dashboard = { MBO_GATEWAY_KEY = var.gateway_key_secret_arn }
      api = {
        MBO_API_KEYS            = var.api_keys_secret_arn
        MBO_CLICKHOUSE_PASSWORD = var.store_password_secret_arn
        MBO_GATEWAY_KEY         = var.gateway_key_secret_arn
      }
    }
    error_message = "Each service gets its own secrets, and no other."
  }

  assert {
    condition = { for name, rights in data.aws_iam_policy_document.start : name => toset(flatten([
      for statement in rights.statement : statement.resources if contains(statement.actions, "secretsmanager:GetSecretValue")
      ])) } == {
      gateway   = toset([var.gateway_key_secret_arn])
      dashboard = toset([var.gateway_key_secret_arn])
      api       = toset([var.api_keys_secret_arn, var.gateway_key_secret_arn, var.store_password_secret_arn])
    }
    error_message = "Each role reads the secrets of its service alone."
  }

  assert {
    condition = alltrue(flatten([for rights in data.aws_iam_policy_document.start : [for statement in rights.statement :
      !anytrue([for action in statement.actions : strcontains(action, "*")]) && (!contains(statement.resources, "*") || statement.actions == toset(["ecr:GetAuthorizationToken"]))
    ]]))
    error_message = "No right has a wildcard but the login at ECR."
  }

  assert {
    condition     = alltrue([for task in aws_ecs_task_definition.this : task.task_role_arn == null])
    error_message = "A task has no rights in the account."
  }

  assert {
    condition = alltrue(flatten([for task in aws_ecs_task_definition.this : [
      for setting in jsondecode(task.container_definitions)[0].environment : length(regexall("KEY|PASSWORD|SECRET", setting.name)) == 0
    ]]))
    error_message = "No secret is a plain setting."
  }
}

run "network" {
  command = plan

  assert {
    condition     = alltrue([for service in aws_ecs_service.this : service.network_configuration[0].assign_public_ip == false])
    error_message = "No task has a public address."
  }

  assert {
    condition     = tolist(flatten([for rule in aws_security_group.balancer.ingress : rule.cidr_blocks])) == var.allowed_cidrs
    error_message = "Those who are allowed reach the load balancer, and nobody else."
  }

  assert {
    condition     = alltrue([for rule in aws_security_group.balancer.ingress : rule.from_port == 443 && rule.to_port == 443])
    error_message = "Nothing but HTTPS comes in."
  }

  assert {
    condition     = aws_lb_listener.https.protocol == "HTTPS" && strcontains(aws_lb_listener.https.ssl_policy, "TLS13")
    error_message = "TLS is spoken, of a kind that is not outdated."
  }

  assert {
    condition = alltrue(flatten([for group in [aws_security_group.balancer, aws_security_group.api, aws_security_group.dashboard, aws_security_group.gateway] :
      [for rule in group.egress : rule.cidr_blocks == null || !contains(coalesce(rule.cidr_blocks, []), "0.0.0.0/0")]
    ]))
    error_message = "No way out leads everywhere."
  }

  assert {
    condition     = contains([for rule in aws_security_group.api.egress : rule.from_port if contains(coalesce(rule.cidr_blocks, []), "10.60.0.0/24")], 8443)
    error_message = "The API reaches the store at the port that its address has."
  }
}

run "image_by_tag" {
  command = plan

  variables {
    image = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/mbo:latest"
  }

  expect_failures = [var.image]
}

run "image_from_elsewhere" {
  command = plan

  variables {
    image = "ghcr.io/someone/mbo@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
  }

  expect_failures = [var.image]
}

run "open_to_everybody" {
  command = plan

  variables {
    allowed_cidrs = ["203.0.113.0/24", "0.0.0.0/0"]
  }

  expect_failures = [var.allowed_cidrs]
}

run "password_in_the_address" {
  command = plan

  variables {
    store = "https://mbo:hunter2@clickhouse.example.com:8443/mbo"
  }

  expect_failures = [var.store]
}

run "secret_by_value" {
  command = plan

  variables {
    api_keys_secret_arn       = "hunter2"
    gateway_key_secret_arn    = "hunter2"
    store_password_secret_arn = "hunter2"
    secrets_kms_key_arn       = "hunter2"
  }

  expect_failures = [
    var.api_keys_secret_arn, var.gateway_key_secret_arn, var.store_password_secret_arn, var.secrets_kms_key_arn,
  ]
}

run "one_zone" {
  command = plan

  variables {
    zones = ["eu-west-1a", "eu-west-1a"]
  }

  expect_failures = [var.zones]
}

run "name_too_long" {
  command = plan

  variables {
    name = "mbo-of-the-whole-department"
  }

  expect_failures = [var.name]
}
