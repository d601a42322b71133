with

products as (

    select * from {{ ref('stg_products') }}

),

order_items as (

    select * from {{ ref('order_items') }}

),

sales as (

    select
        product_id,
        sum(quantity) as units_ordered,
        min(ordered_date) as first_ordered_date,

    from order_items
    group by product_id

)

select
    products.product_id,
    products.product_name,
    products.category,
    products.list_price,
    products.unit_cost,
    products.list_price - products.unit_cost as list_margin,
    coalesce(sales.units_ordered, 0) as units_ordered,
    sales.first_ordered_date,

from products
left join sales using (product_id)
