# Who may talk to whom. What is not here is closed, the way out included. The rules stand inside their groups, so that one that
# somebody adds by hand is a difference in the next plan; ways out name address ranges, for groups that name each other are a circle.

locals {
  store_port = tonumber(regex(":([0-9]+)/[A-Za-z0-9_]+$", var.store)[0])
  private    = aws_subnet.private[*].cidr_block
  groups = {
    gateway   = aws_security_group.gateway.id
    api       = aws_security_group.api.id
    dashboard = aws_security_group.dashboard.id
  }
}

resource "aws_security_group" "balancer" {
  name        = "${var.name}-balancer"
  description = "The load balancer of ${var.name}"
  vpc_id      = aws_vpc.this.id

  ingress {
    description = "HTTPS of those who are let in"
    protocol    = "tcp"
    from_port   = 443
    to_port     = 443
    cidr_blocks = var.allowed_cidrs
  }

  egress {
    description = "to the API"
    protocol    = "tcp"
    from_port   = local.services.api.port
    to_port     = local.services.api.port
    cidr_blocks = local.private
  }

  egress {
    description = "to the dashboard"
    protocol    = "tcp"
    from_port   = local.services.dashboard.port
    to_port     = local.services.dashboard.port
    cidr_blocks = local.private
  }

  tags = { Name = "${var.name}-balancer" }
}

resource "aws_security_group" "api" {
  name        = "${var.name}-api"
  description = "The API of ${var.name}"
  vpc_id      = aws_vpc.this.id

  ingress {
    description     = "from the load balancer"
    protocol        = "tcp"
    from_port       = local.services.api.port
    to_port         = local.services.api.port
    security_groups = [aws_security_group.balancer.id]
  }

  egress {
    description = "to the gateway"
    protocol    = "tcp"
    from_port   = local.services.gateway.port
    to_port     = local.services.gateway.port
    cidr_blocks = local.private
  }

  egress {
    description = "to the store"
    protocol    = "tcp"
    from_port   = local.store_port
    to_port     = local.store_port
    cidr_blocks = var.store_cidrs
  }

  egress {
    description = "to the endpoints of AWS"
    protocol    = "tcp"
    from_port   = 443
    to_port     = 443
    cidr_blocks = local.private
  }

  egress {
    description     = "to the layers of the image"
    protocol        = "tcp"
    from_port       = 443
    to_port         = 443
    prefix_list_ids = [aws_vpc_endpoint.s3.prefix_list_id]
  }

  tags = { Name = "${var.name}-api" }
}

resource "aws_security_group" "dashboard" {
  name        = "${var.name}-dashboard"
  description = "The dashboard of ${var.name}"
  vpc_id      = aws_vpc.this.id

  ingress {
    description     = "from the load balancer"
    protocol        = "tcp"
    from_port       = local.services.dashboard.port
    to_port         = local.services.dashboard.port
    security_groups = [aws_security_group.balancer.id]
  }

  egress {
    description = "to the gateway"
    protocol    = "tcp"
    from_port   = local.services.gateway.port
    to_port     = local.services.gateway.port
    cidr_blocks = local.private
  }

  egress {
    description = "to the endpoints of AWS"
    protocol    = "tcp"
    from_port   = 443
    to_port     = 443
    cidr_blocks = local.private
  }

  egress {
    description     = "to the layers of the image"
    protocol        = "tcp"
    from_port       = 443
    to_port         = 443
    prefix_list_ids = [aws_vpc_endpoint.s3.prefix_list_id]
  }

  tags = { Name = "${var.name}-dashboard" }
}

resource "aws_security_group" "gateway" {
  name        = "${var.name}-gateway"
  description = "The gateway of ${var.name}"
  vpc_id      = aws_vpc.this.id

  ingress {
    description     = "from those who follow it"
    protocol        = "tcp"
    from_port       = local.services.gateway.port
    to_port         = local.services.gateway.port
    security_groups = [aws_security_group.api.id, aws_security_group.dashboard.id]
  }

  egress {
    description = "to the endpoints of AWS"
    protocol    = "tcp"
    from_port   = 443
    to_port     = 443
    cidr_blocks = local.private
  }

  egress {
    description     = "to the layers of the image"
    protocol        = "tcp"
    from_port       = 443
    to_port         = 443
    prefix_list_ids = [aws_vpc_endpoint.s3.prefix_list_id]
  }

  tags = { Name = "${var.name}-gateway" }
}

resource "aws_security_group" "endpoints" {
  name        = "${var.name}-endpoints"
  description = "What ${var.name} needs of AWS"
  vpc_id      = aws_vpc.this.id

  ingress {
    description     = "from the services"
    protocol        = "tcp"
    from_port       = 443
    to_port         = 443
    security_groups = values(local.groups)
  }

  tags = { Name = "${var.name}-endpoints" }
}
