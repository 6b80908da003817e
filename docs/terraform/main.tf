# What a registry on one host of EC2 stands on, made by Terraform or OpenTofu. It ends where playbooks/configure.yml begins: the outputs
# are Ansible's inventory and the settings that go with it. docs/aws.md#bring-your-own has the commands.

terraform {
  required_version = ">= 1.6"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 6.0"
    }
  }
}

variable "name" {
  description = "The deployment's name: lower-case letters, digits and hyphens."
  type        = string
  default     = "prod"
}

variable "region" {
  type    = string
  default = "eu-central-1"
}

variable "domain" {
  description = "The name that clients write."
  type        = string
}

variable "zone" {
  description = "The public hosted zone of Route 53 that holds it."
  type        = string
}

variable "bucket" {
  description = "The bucket of the images."
  type        = string
}

variable "client_cidrs" {
  description = "Who reaches the registry."
  type        = list(string)
}

variable "admin_cidrs" {
  description = "Who reaches SSH: at least the machine that Ansible runs on."
  type        = list(string)
}

variable "public_key" {
  description = "The text of an SSH public key."
  type        = string
}

provider "aws" {
  region = var.region
  default_tags {
    tags = { Name = var.name }
  }
}

data "aws_availability_zones" "here" {
  state = "available"
}

data "aws_route53_zone" "public" {
  name = var.zone
}

data "aws_ssm_parameter" "debian" {
  name = "/aws/service/debian/release/13/latest/arm64"
}

# ----- the network ------------------------------------------------------------------------------

resource "aws_vpc" "registry" {
  cidr_block           = "10.60.0.0/16"
  enable_dns_hostnames = true
}

resource "aws_internet_gateway" "registry" {
  vpc_id = aws_vpc.registry.id
}

resource "aws_subnet" "public" {
  vpc_id            = aws_vpc.registry.id
  cidr_block        = "10.60.0.0/20"
  availability_zone = data.aws_availability_zones.here.names[0]
}

resource "aws_route_table" "public" {
  vpc_id = aws_vpc.registry.id
  route {
    cidr_block = "0.0.0.0/0"
    gateway_id = aws_internet_gateway.registry.id
  }
}

resource "aws_route_table_association" "public" {
  subnet_id      = aws_subnet.public.id
  route_table_id = aws_route_table.public.id
}

# What goes to S3 stays in AWS.
resource "aws_vpc_endpoint" "s3" {
  vpc_id          = aws_vpc.registry.id
  service_name    = "com.amazonaws.${var.region}.s3"
  route_table_ids = [aws_route_table.public.id]
}

resource "aws_security_group" "registry" {
  name        = "${var.name}-clients"
  description = "Clients and administrators of the registry"
  vpc_id      = aws_vpc.registry.id
  ingress {
    from_port   = 443
    to_port     = 443
    protocol    = "tcp"
    cidr_blocks = var.client_cidrs
  }
  ingress {
    from_port   = 22
    to_port     = 22
    protocol    = "tcp"
    cidr_blocks = var.admin_cidrs
  }
  # Package mirrors, S3, names and time.
  egress {
    from_port   = 0
    to_port     = 0
    protocol    = "-1"
    cidr_blocks = ["0.0.0.0/0"]
  }
}

# ----- the images, and who may use them ---------------------------------------------------------

resource "aws_s3_bucket" "images" {
  bucket = var.bucket
}

resource "aws_s3_bucket_public_access_block" "images" {
  bucket                  = aws_s3_bucket.images.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

# What broken uploads leave is paid for.
resource "aws_s3_bucket_lifecycle_configuration" "images" {
  bucket = aws_s3_bucket.images.id
  rule {
    id     = "broken-uploads"
    status = "Enabled"
    filter {}
    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }
  }
}

data "aws_iam_policy_document" "trust" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["ec2.amazonaws.com"]
    }
  }
}

data "aws_iam_policy_document" "registry" {
  statement {
    actions   = ["s3:ListBucket", "s3:GetBucketLocation", "s3:ListBucketMultipartUploads"]
    resources = [aws_s3_bucket.images.arn]
  }
  statement {
    actions = [
      "s3:GetObject",
      "s3:PutObject",
      # An ACL goes with each object.
      "s3:PutObjectAcl",
      "s3:DeleteObject",
      "s3:ListMultipartUploadParts",
      "s3:AbortMultipartUpload",
    ]
    resources = ["${aws_s3_bucket.images.arn}/*"]
  }
}

resource "aws_iam_role" "registry" {
  name               = "${var.name}-images"
  assume_role_policy = data.aws_iam_policy_document.trust.json
}

resource "aws_iam_role_policy" "registry" {
  role   = aws_iam_role.registry.id
  policy = data.aws_iam_policy_document.registry.json
}

resource "aws_iam_instance_profile" "registry" {
  name = "${var.name}-images"
  role = aws_iam_role.registry.name
}

# ----- the host and its name --------------------------------------------------------------------

resource "aws_key_pair" "registry" {
  key_name   = var.name
  public_key = var.public_key
}

resource "aws_instance" "registry" {
  ami                    = data.aws_ssm_parameter.debian.insecure_value
  instance_type          = "t4g.small"
  subnet_id              = aws_subnet.public.id
  vpc_security_group_ids = [aws_security_group.registry.id]
  iam_instance_profile   = aws_iam_instance_profile.registry.name
  key_name               = aws_key_pair.registry.key_name
  metadata_options {
    http_tokens = "required"
    # One for the host, one for the bridge that the registries' containers are on.
    http_put_response_hop_limit = 2
  }
  root_block_device {
    volume_size = 20
    volume_type = "gp3"
    encrypted   = true
  }
  # A newer image is no reason for another host.
  lifecycle {
    ignore_changes = [ami]
  }
}

resource "aws_eip" "registry" {
  instance = aws_instance.registry.id
}

resource "aws_route53_record" "registry" {
  zone_id = data.aws_route53_zone.public.zone_id
  name    = var.domain
  type    = "A"
  ttl     = 60
  records = [aws_eip.registry.public_ip]
}

# ----- what Ansible gets ------------------------------------------------------------------------

# For playbooks/configure.yml: terraform output -json inventory > inventories/mine/hosts.json
output "inventory" {
  value = {
    registry = {
      hosts = {
        (var.name) = {
          ansible_host = aws_eip.registry.public_ip
          ansible_user = "admin"
        }
      }
      vars = {
        drydock_domain                   = var.domain
        registry_server_storage_provider = "s3"
        registry_server_s3 = {
          bucket     = aws_s3_bucket.images.bucket
          region     = var.region
          object_acl = "bucket-owner-full-control"
        }
      }
    }
  }
}

# For playbooks/site.yml of any platform, where the network, groups and roles are this configuration's:
# terraform output -json settings > inventories/mine/group_vars/all/terraform.json
output "settings" {
  value = {
    drydock_region                  = var.region
    aws_network_provider            = "given"
    aws_network_vpc_id              = aws_vpc.registry.id
    aws_network_subnet_ids          = [aws_subnet.public.id]
    aws_network_security_group_ids  = [aws_security_group.registry.id]
    aws_identity_instance_profile   = aws_iam_instance_profile.registry.name
    aws_storage_bucket              = aws_s3_bucket.images.bucket
  }
}
