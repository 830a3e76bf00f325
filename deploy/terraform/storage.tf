# A bucket for each kind of life: what is deleted when, and who may read it, is said for a bucket.

locals {
  buckets = {
    # Objects are deleted when they are delivered or buried. The rule is a net: it must come long after
    # every deadline, for what it deletes has become no dead letter.
    hold = { days = var.hold_days, versions = false }

    # They hold personal data, and are kept only as long as somebody might replay them.
    dead-letters = { days = var.dead_letter_days, versions = false }

    # The connectors file, with what it was before: an edit can be taken back.
    config = { days = 0, versions = true }

    # What Dataflow stages for its workers: a running job needs it whenever a worker starts, so it is
    # not deleted by age.
    staging = { days = 0, versions = false }
  }
}

resource "google_storage_bucket" "buckets" {
  for_each = local.buckets

  name     = "${var.project}-${var.name}-${each.key}"
  location = var.bucket_location

  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = false

  # Deleted is deleted: the hold deletes what was delivered, and a person's events must go when they are
  # erased. Cloud Storage would keep and bill them for a week else.
  soft_delete_policy {
    retention_duration_seconds = each.value.versions ? 604800 : 0
  }

  versioning {
    enabled = each.value.versions
  }

  dynamic "lifecycle_rule" {
    for_each = each.value.days > 0 ? [each.value.days] : []

    content {
      action {
        type = "Delete"
      }
      condition {
        age = lifecycle_rule.value
      }
    }
  }

  dynamic "lifecycle_rule" {
    for_each = each.value.versions ? [20] : []

    content {
      action {
        type = "Delete"
      }
      condition {
        num_newer_versions = lifecycle_rule.value
        with_state         = "ARCHIVED"
      }
    }
  }

  lifecycle_rule {
    action {
      type = "AbortIncompleteMultipartUpload"
    }
    condition {
      age = 7
    }
  }

  dynamic "encryption" {
    for_each = var.kms_key == "" ? [] : [var.kms_key]

    content {
      default_kms_key_name = encryption.value
    }
  }

  depends_on = [google_project_service.used]
}
