"""The same sweep as an experienced user would write it without this system."""
