# TLS ends here. Nothing listens on port 80, and a host name that nobody knows is a 404.

locals {
  hosts = { api = var.api_host, dashboard = var.dashboard_host }
}

resource "aws_lb" "this" {
  #checkov:skip=CKV_AWS_150:dev and staging are made and destroyed at will; a test holds prod to it
  #checkov:skip=CKV2_AWS_28:nobody outside of allowed_cidrs reaches it; a firewall for web requests is the account's to add

  name                       = var.name
  load_balancer_type         = "application"
  internal                   = false
  subnets                    = aws_subnet.public[*].id
  security_groups            = [aws_security_group.balancer.id]
  idle_timeout               = 120 # WebSockets say something every 15 s
  drop_invalid_header_fields = true
  enable_deletion_protection = var.deletion_protection

  access_logs {
    bucket  = var.access_logs_bucket
    prefix  = var.name
    enabled = true
  }

  depends_on = [aws_route.internet] # AWS makes none in a VPC without a way to the internet
}

resource "aws_lb_target_group" "this" {
  #checkov:skip=CKV_AWS_378:TLS ends at the load balancer; the way on is inside the VPC, from one security group to another
  for_each = local.hosts

  name                 = "${var.name}-${each.key}"
  vpc_id               = aws_vpc.this.id
  target_type          = "ip"
  protocol             = "HTTP"
  port                 = local.services[each.key].port
  deregistration_delay = 30

  health_check {
    path                = local.services[each.key].health
    matcher             = "200"
    interval            = 15
    timeout             = 5
    healthy_threshold   = 2
    unhealthy_threshold = 4
  }

  dynamic "stickiness" { # a page and its WebSocket have to meet in one process
    for_each = each.key == "dashboard" ? ["one"] : []

    content {
      type            = "lb_cookie"
      cookie_duration = 86400
    }
  }
}

resource "aws_lb_listener" "https" {
  load_balancer_arn = aws_lb.this.arn
  port              = 443
  protocol          = "HTTPS"
  ssl_policy        = "ELBSecurityPolicy-TLS13-1-2-2021-06"
  certificate_arn   = var.certificate_arn

  default_action {
    type = "fixed-response"

    fixed_response {
      content_type = "text/plain"
      message_body = "no such host"
      status_code  = "404"
    }
  }
}

resource "aws_lb_listener_rule" "host" {
  for_each = local.hosts

  listener_arn = aws_lb_listener.https.arn

  condition {
    host_header {
      values = [each.value]
    }
  }

  action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.this[each.key].arn
  }
}
