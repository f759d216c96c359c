# The three services, of one image.

locals {
  feed = "tcp://gateway.${aws_service_discovery_private_dns_namespace.this.name}:13000"

  services = {
    gateway = {
      port     = 13000
      count    = 1
      health   = ""
      check    = ["python", "health.py", "gateway"]
      command  = ["mbo", "gateway", var.recording, "--speed", "1", "--loop", "--host", "0.0.0.0", "--port", "13000"]
      settings = {}
      secrets  = { MBO_GATEWAY_KEY = var.gateway_key_secret_arn }
    }
    # What is asked of the API is whether it is alive, not, as in compose.yaml, whether it is ready: ECS replaces what is not well,
    # and the rows that wait for a store which is down would go with it.
    api = {
      port    = 8000
      count   = 1
      health  = "/healthz"
      check   = ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
      command = ["mbo", "serve", "--host", "0.0.0.0", "--port", "8000"]
      settings = {
        MBO_FEED  = local.feed
        MBO_STORE = var.store
      }
      secrets = {
        MBO_API_KEYS            = var.api_keys_secret_arn
        MBO_GATEWAY_KEY         = var.gateway_key_secret_arn
        MBO_CLICKHOUSE_PASSWORD = var.store_password_secret_arn
      }
    }
    dashboard = {
      port   = 5006
      count  = var.dashboards
      health = "/static/js/bokeh.min.js" # not the page, of which every request would open a session
      check  = ["python", "health.py", "dashboard"]
      command = [
        "panel", "serve", "dashboard/app.py", "--warm", "--use-xheaders", "--address", "0.0.0.0", "--port", "5006",
        "--allow-websocket-origin=${var.dashboard_host}",
      ]
      settings = { MBO_FEED = local.feed }
      secrets  = { MBO_GATEWAY_KEY = var.gateway_key_secret_arn }
    }
  }
}

resource "aws_ecs_cluster" "this" {
  name = var.name

  setting {
    name  = "containerInsights"
    value = "enabled"
  }
}

resource "aws_ecs_task_definition" "this" {
  for_each = local.services

  family                   = "${var.name}-${each.key}"
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = var.sizes[each.key].cpu
  memory                   = var.sizes[each.key].memory
  execution_role_arn       = aws_iam_role.start[each.key].arn

  volume { # the one place that can be written to
    name = "tmp"
  }

  container_definitions = jsonencode([{ # the image starts each command by mbo-start, its entry point
    name        = each.key
    image       = var.image
    essential   = true
    command     = each.value.command
    stopTimeout = 60 # the API says that it drains for up to 20 s

    readonlyRootFilesystem = true
    linuxParameters        = { initProcessEnabled = true, capabilities = { drop = ["ALL"] } }
    mountPoints            = [{ sourceVolume = "tmp", containerPath = "/tmp", readOnly = false }]
    portMappings           = [{ containerPort = each.value.port, hostPort = each.value.port, protocol = "tcp" }]
    healthCheck            = { command = concat(["CMD"], each.value.check), interval = 15, timeout = 10, retries = 4, startPeriod = 120 }

    environment = [for name, value in merge({ MBO_ENV = var.environment }, each.value.settings) : { name = name, value = value }]
    secrets     = [for name, arn in each.value.secrets : { name = name, valueFrom = arn }]

    logConfiguration = {
      logDriver = "awslogs"
      options = {
        awslogs-group         = aws_cloudwatch_log_group.service[each.key].name
        awslogs-region        = var.region
        awslogs-stream-prefix = each.key
      }
    }
  }])
}

resource "aws_ecs_service" "this" {
  for_each = local.services

  name             = each.key
  cluster          = aws_ecs_cluster.this.id
  task_definition  = aws_ecs_task_definition.this[each.key].arn
  launch_type      = "FARGATE"
  platform_version = "LATEST"
  desired_count    = each.value.count
  propagate_tags   = "SERVICE"

  # Gateway and API are stopped before they are replaced: two gateways would have two clocks, two recorders one session.
  deployment_minimum_healthy_percent = each.key == "dashboard" ? 100 : 0
  deployment_maximum_percent         = each.key == "dashboard" ? 200 : 100
  health_check_grace_period_seconds  = contains(keys(local.hosts), each.key) ? 120 : null

  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }

  network_configuration {
    subnets          = aws_subnet.private[*].id
    security_groups  = [local.groups[each.key]]
    assign_public_ip = false
  }

  dynamic "load_balancer" {
    for_each = contains(keys(local.hosts), each.key) ? [each.key] : []

    content {
      target_group_arn = aws_lb_target_group.this[each.key].arn
      container_name   = each.key
      container_port   = each.value.port
    }
  }

  dynamic "service_registries" {
    for_each = each.key == "gateway" ? [each.key] : []

    content {
      registry_arn = aws_service_discovery_service.gateway.arn
    }
  }

  depends_on = [aws_lb_listener_rule.host, aws_iam_role_policy.start, aws_vpc_endpoint.interface, aws_vpc_endpoint.s3]
}
